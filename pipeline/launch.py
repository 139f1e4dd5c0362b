"""Several processes for one stage: it starts itself again under torchrun, one process a GPU of this machine.

DVC runs each stage by a command that is part of the stage, so the number of processes is a setting of the machine.
"""

import os
import sys

from pipeline import devices
from pipeline.errors import InputError
from pipeline.machine import machine

VARIABLE = "SCALEWISE_PROCESSES"


def spread(module: str) -> None:
    """Replace this process by torchrun's where the machine's `processes` asks for several; return where it does not.

    It is a number, or `gpus` for as many as torch sees. SIGTERM reaches the processes through torchrun.

    Args:
        module: the stage, as `python -m` takes it; it gets this process's arguments.

    Raises:
        InputError: it is neither, or asks for GPUs that are not there.
    """
    if "WORLD_SIZE" in os.environ:  # torchrun set it: this is one of the processes
        return
    count = processes()
    if count == 1:
        return
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [*command, "-m", module, *sys.argv[1:]])


def gpus_of_a_training() -> int:
    """Return how many GPUs a training asks Snakemake or SLURM for; nothing is looked up where a number says it.

    Raises:
        InputError: it shall be all of this machine's, and there are none, as on a cluster's login node.
    """
    text = str(machine().processes)
    if text != "gpus":
        return int(text) if text.isdigit() else 1
    count = len(devices.visible())
    if not count:
        raise InputError(
            f"The machine's `processes` (params.yaml, or {VARIABLE}) is `gpus`, and there are none here to count; say "
            "how many one training takes, which on a cluster is at most those of a node."
        )
    return count


def processes() -> int:
    """Return how many processes the machine's `processes` asks for; raise InputError where they cannot run here."""
    text, setting = str(machine().processes), f"The machine's `processes` (params.yaml, or {VARIABLE})"
    if text == "gpus":
        found = devices.gpus()
        if not found:
            raise InputError(
                f"{setting} is `gpus`, but PyTorch sees none here: {devices.why_none()}; set it to 1 to train on the "
                "CPU, or start the training where the GPUs are."
            )
        return found
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1024):
        raise InputError(f"{setting} is {text!r}, but must be `gpus` or a number from 1 to 1024; correct it.")
    if int(text) > 1 and 0 < (found := devices.gpus()) < int(text):
        raise InputError(f"{setting} is {text}, but PyTorch sees {found} GPUs here; set it to {found} or `gpus`.")
    return int(text)
