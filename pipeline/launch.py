"""Several processes for one stage: it starts itself again under torchrun, one process a GPU, on one machine or several.

DVC runs each stage by a command that is part of the stage, so the number of processes is a setting of the machine.
"""

import os
import socket
import sys

from pipeline import devices
from pipeline.errors import InputError
from pipeline.machine import machine

VARIABLE = "SCALEWISE_PROCESSES"
HERE = "SLURMD_NODENAME"  # set on the nodes of SLURM's jobs
# One torchrun a node, which may use all processors and GPUs that the job has there; none goes on alone.
SRUN = ("srun", "--ntasks-per-node=1", "--cpu-bind=none", "--kill-on-bad-exit=1")


def spread(module: str) -> None:
    """Replace this process by torchrun's where the machine's `processes` or `nodes` asks for it; return where not.

    `processes` is a number, or `gpus` for as many as torch sees. SIGTERM reaches the processes through torchrun.

    Args:
        module: the stage, as `python -m` takes it; it gets this process's arguments.

    Raises:
        InputError: it is neither, or asks for GPUs or nodes that are not there.
    """
    if "WORLD_SIZE" in os.environ:  # torchrun set it: this is one of the processes
        return
    count, nodes = processes(), machine().nodes
    if count == nodes == 1:
        return
    before, meeting = ([], ["--standalone"]) if nodes == 1 else several_machines(nodes)
    torchrun = [sys.executable, "-m", "torch.distributed.run", *meeting, "--nproc-per-node", str(count)]
    command = [*before, *torchrun, "-m", module, *sys.argv[1:]]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvp(command[0], command)


def several_machines(nodes: int) -> tuple[list[str], list[str]]:
    """Return what starts a command on all nodes of this job, and where torchrun's processes meet: on this node.

    Raises:
        InputError: this is no node of a job of SLURM.
    """
    if HERE not in os.environ:
        raise InputError(
            f"The machine's `nodes` (params.yaml, or SCALEWISE_NODES) is {nodes}, but this is no node of a job of "
            "SLURM; send it there (docs/full.md), or set it to 1."
        )
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    meeting = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{os.environ[HERE]}:{port}"]
    return [*SRUN, f"--nodes={nodes}", f"--ntasks={nodes}"], meeting


def resources(computes: bool = True) -> dict[str, int | str]:
    """Return what a training asks Snakemake or SLURM for, by the names of the latter's plugin.

    On several nodes the training itself starts `srun` (`mpi`, with a task a node), and GPUs are those of each node.

    Args:
        computes: False for one that only fetches weights.
    """
    nodes = machine().nodes
    gpus = gpus_of_a_training() if computes else 0
    if nodes == 1:
        return {"gpu": gpus, "nodes": 1}
    if not computes:
        return {"gpu": 0, "nodes": 1, "gres": "", "mpi": "", "tasks": 1, "tasks_per_gpu": 0}
    return {"gpu": 0, "nodes": nodes, "gres": f"gpu:{gpus}", "mpi": "srun", "tasks": nodes, "tasks_per_gpu": 0}


def gpus_of_a_training() -> int:
    """Return how many GPUs of a machine a training takes; nothing is looked up where a number says it.

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
