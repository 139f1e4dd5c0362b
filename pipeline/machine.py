"""Settings of this machine: they decide how fast a stage runs and where its data lie, never what comes out.

They stand in params.yaml's block `machine:`; a variable SCALEWISE_<NAME> of the environment overrides each. They are in
no digest and no dependency of any stage, so a training that was interrupted goes on after any of them changed.
"""

import os
from typing import Annotated, Literal

import msgspec

from pipeline import config, paths
from pipeline.errors import InputError
from pipeline.files import read_yaml
from pipeline.options import Options

PREFIX = "SCALEWISE_"


class Machine(Options):
    """The block `machine:` of params.yaml."""

    processes: int | str = 1  # of a training on each of its machines, or `gpus` for one a GPU
    nodes: Annotated[int, msgspec.Meta(ge=1)] = 1  # machines of a training; several are a job of SLURM
    workers: Annotated[int, msgspec.Meta(ge=0)] | None = None  # loaders of data of each; None: up to 8 with a GPU
    tensorboard: bool = False  # event files beside the log of every step
    tracking: Literal["dvclive", "mlflow", "wandb"] | None = None  # where the history's rows are sent as well
    imagenet: str = "data/imagenet"  # folder with ImageNet's `train` and `val`


def machine() -> Machine:
    """Return this machine's settings.

    Raises:
        InputError: an unknown key, or a value of another kind; the sentence names params.yaml or the variable.
    """
    content = read_yaml(paths.PARAMS) if paths.PARAMS.is_file() else {}
    given = content.get("machine") if isinstance(content, dict) else None
    found = config.converted({} if given is None else given, Machine, f"{paths.PARAMS}: machine")
    for field in msgspec.structs.fields(Machine):
        variable = PREFIX + field.name.upper()
        text = os.environ.get(variable, "").strip()
        if text:
            try:
                value = msgspec.convert(text, field.type, strict=False)
            except msgspec.ValidationError as error:
                raise InputError(f"{variable} is {text!r}: {error}; correct it.") from error
            found = msgspec.structs.replace(found, **{field.name: value})
    return found


def loader_workers() -> int:
    """Return how many processes load the data for each that computes: without a GPU, that one does it best itself.

    With GPUs, those of a machine share the processors that this job may use.
    """
    wanted = machine().workers
    if wanted is None:
        import torch

        if not torch.cuda.is_available():
            return 0
        may_use = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(8, may_use // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    return wanted
