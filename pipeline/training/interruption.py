"""What ends a training early: SIGTERM from a cluster, the death of a data-loading worker, a loss that is not finite."""

import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import InputError
from pipeline.files import write_json
from pipeline.spec import Spec

GRACE = 0.5  # seconds in which a SIGTERM may follow the one that ended a worker
STOPPED = 128 + signal.SIGTERM  # exit code 143, that of a process ended by SIGTERM


class Stopped(SystemExit):
    """SIGTERM came: the state is saved, and the same training continues from it when it is started again."""

    def __init__(self, message: str) -> None:
        super().__init__(STOPPED)
        self.message = message

    def __str__(self) -> str:
        return self.message


class StopRequest:
    """Whether SIGTERM has come."""

    requested = False


@contextmanager
def catch_sigterm() -> Iterator[StopRequest]:
    """Let the current step finish after SIGTERM instead of ending the process at once (cluster pre-emption).

    A cluster also ends the data-loading workers; their deaths interrupt neither the step nor the end of the process.
    """
    request = StopRequest()

    def note(signum: int, frame: Any) -> None:
        request.requested = True
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would raise anywhere in the code

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def explained_deaths(spec: Spec, stop: StopRequest, size: int = 1) -> Iterator[None]:
    """Turn the death of a data-loading worker, unless a cluster ends all processes, and a full GPU into InputErrors."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        training = spec.preset.training
        raise InputError(
            f"{spec.name}: the GPU's memory is full ({str(error).partition('. ')[0]}) with batch {spec.batch} over "
            f"{size} process{'es' * (size > 1)} and accumulate {training.accumulate}; use more processes, which keeps "
            "the checkpoint, or halve the preset's training.batch and double its accumulate, which starts anew."
        ) from error
    except RuntimeError as error:
        cause = " ".join(str(error).split()).rstrip(".")
        if not cause.startswith(("DataLoader worker", "Pin memory thread")):
            raise
        time.sleep(GRACE)
        if stop.requested:
            message = (
                f"{spec.name}: stopped together with its workers; the next start goes on from the last checkpoint."
            )
            print(message, file=sys.stderr)
            raise Stopped(message) from error
        raise InputError(
            f"{spec.name}: {cause}; most often its machine ran out of memory: set fewer `workers` of the "
            "machine (params.yaml) or give the job more memory, and the next start goes on from the last checkpoint."
        ) from error


def stop_at_loss(
    spec: Spec, step: int, lr: float, batches: Sequence[tuple[dict[str, float], dict[str, Any]]], path: Path
) -> None:
    """Write the images of a step whose loss is not finite to a file, and raise InputError.

    Args:
        step: from 0.
        batches: losses and facts (`image_ids`, `file_names`) of every batch of the step in this process.
        path: JSON file to write.
    """
    bad = [(losses, info) for losses, info in batches if not all(map(math.isfinite, losses.values()))]
    if not bad:
        raise InputError(
            f"{spec.name}: the loss of step {step + 1} is not finite in another process; its message names the images."
        )
    values = ", ".join(f"{name} {value:.4g}" for name, value in bad[0][0].items())
    record: dict[str, Any] = {
        "experiment": spec.name,
        "step": step + 1,
        "lr": lr,
        "losses": [{n: v if math.isfinite(v) else str(v) for n, v in losses.items()} for losses, _ in bad],
    }
    for name in ("image_ids", "file_names"):
        record[name] = [entry for _, info in bad for entry in info.get(name, ())]
    try:
        write_json(path, record)
        where = f"{path} lists its images"
    except (OSError, InputError):
        where = f"the list of its images could not be written to {path}"
    raise InputError(
        f"{spec.name}: the loss of step {step + 1} is not finite ({values}); lower the learning rate of preset "
        f"{spec.preset.name} or train in fp32; {where}."
    )
