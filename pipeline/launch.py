"""Several processes for one stage: it starts itself again under torchrun, one process a GPU of this machine.

DVC runs each stage by a command that is part of the stage, so the number of processes is a setting of the machine.
"""

import os
import sys

from pipeline.errors import InputError
from pipeline.machine import machine

VARIABLE = "SCALEWISE_PROCESSES"


def spread(module: str) -> None:
    """Replace this process by torchrun's where the machine's `processes` asks for several; return where it does not.

    It is a number, or `gpus` for as many as torch sees. SIGTERM reaches the processes through torchrun.

    Args:
        module: the stage, as `python -m` takes it; it gets this process's arguments.

    Raises:
        InputError: it is neither.
    """
    count = processes()
    if count == 1 or "WORLD_SIZE" in os.environ:  # torchrun set it: this is one of the processes
        return
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [*command, "-m", module, *sys.argv[1:]])


def processes() -> int:
    """Return how many processes the machine's `processes` asks for."""
    text = str(machine().processes)
    if text == "gpus":
        import torch

        return max(1, torch.cuda.device_count())
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1024):
        raise InputError(
            f"The machine's `processes` (params.yaml, or {VARIABLE}) is {text!r}, but must be `gpus` or a number from "
            "1 to 1024; correct it."
        )
    return int(text)
