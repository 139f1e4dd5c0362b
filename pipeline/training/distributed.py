"""Several processes started by torchrun, each with a GPU or a share of the CPU, that train on parts of one batch."""

import datetime
import math
import os
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.devices import gpus
from pipeline.errors import InputError
from pipeline.models.backbones.norms import synchronised

T = TypeVar("T")
PATIENCE = datetime.timedelta(hours=4)  # the others wait while the first process may decode all of ImageNet


@dataclass(frozen=True)
class World:
    """This process among all; a single process does not communicate."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, rows: Sequence[T]) -> list[T]:
        """Return this process's part of a batch; raise InputError where the parts would not be equal."""
        if len(rows) % self.size:
            raise InputError(
                f"A batch of {len(rows)} cannot be shared by {self.size} processes; take a number that divides it."
            )
        return list(rows[self.rank :: self.size])

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return a model whose gradients are averaged over processes; keep it as long as gradients are computed.

        Every trainable parameter must be used in every step, even without objects in the images (tested for all
        detector families), so that no process has to search the graph for unused ones.
        """
        return DistributedDataParallel(model) if self.size > 1 else model

    @staticmethod
    def local(wrapped: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which gradients stay in this process, as DDP's `no_sync`."""
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()

    def synchronise_norms(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return a model whose trained batch norms compute statistics over all processes' images.

        Norms with frozen statistics are not changed.

        Raises:
            InputError: there are several processes, but not on GPUs.
        """
        if self.size == 1:
            return model
        if device.type != "cuda":
            raise InputError(
                "norm 'sync' takes statistics over processes on GPUs only, found several processes on the CPU; start "
                "one process, or set the preset's training.norm to 'frozen_statistics', 'frozen' or 'batch'."
            )
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, synchronised(child))
        return model

    def means(self, values: dict[str, float | None], device: torch.device) -> dict[str, float | None]:
        """Return the mean of every value over the processes that have it, None where none has.

        A process does not have a value that is None, NaN or missing. A single process gets its values back unchanged.
        """
        if self.size == 1:
            return values
        names = sorted(values)
        key = zlib.crc32("/".join(names).encode())
        bounds = torch.tensor([key, -key], device=device)
        dist.all_reduce(bounds, op=dist.ReduceOp.MAX)
        if bounds[0] != -bounds[1]:
            names = sorted({name for part in self.gathered(names) for name in part})
        present = [value is not None and not math.isnan(value) for value in map(values.get, names)]
        found = [values[name] if there else 0.0 for name, there in zip(names, present, strict=True)]
        rows = torch.tensor([found, present], dtype=torch.float64).to(device)
        dist.all_reduce(rows)
        sums, counts = rows.tolist()
        means = {n: s / c if c else None for n, s, c in zip(names, sums, counts, strict=True)}
        return {name: means[name] for name in dict.fromkeys([*values, *names])}  # in the order of this process

    def sum(self, values: Tensor) -> Tensor:
        """Return the element-wise sum of a tensor over processes, without waiting for a GPU."""
        if self.size == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total

    def normaliser(self, device: torch.device) -> Callable[..., float | Tensor]:
        """Return a `Normaliser` with which the mean of a loss over processes is the loss of the joint batch.

        If a process has the sum S and the count n, it divides S by the mean of n over processes; the mean of these
        quotients is (sum of S) / (sum of n). All processes must call it equally often.
        """

        def over_processes(count: float | Tensor, least: float = 1.0) -> Tensor:
            local = count if isinstance(count, Tensor) else torch.full((), float(count), device=device)
            return self.sum(local.float()).clamp(min=least) / self.size

        return over_processes

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether the flag is set in any process."""
        if self.size == 1:
            return flag
        value = torch.tensor(int(flag), device=device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value)

    def agreed(self, value: str) -> str:
        """Return process 0's value."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def gathered(self, value: T) -> list[T]:
        """Return every process's value, in the order of processes."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def share_buffers(self, model: nn.Module) -> None:
        """Copy process 0's buffers to all processes, because batch norm's statistics differ between them."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()

    def main_first(self, work: Callable[[], T]) -> T:
        """Do the work in process 0 first, then in the others, which find its results on disk."""
        if not self.main:
            self.wait()
        result = work()
        if self.main:
            self.wait()
        return result


ALONE = World()


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that torchrun started (WORLD_SIZE above 1), or be alone.

    GPUs communicate through NCCL, CPUs through Gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    local, seen = int(os.environ.get("LOCAL_RANK", "0")), gpus()
    if seen:
        if local >= seen:
            raise InputError(
                f"Process {local + 1} of this machine has no GPU, because PyTorch sees {seen}; start torchrun with "
                f"--nproc-per-node {seen} at most."
            )
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if seen else "gloo", timeout=PATIENCE)
    try:
        yield World(dist.get_rank(), size, local)
    except BaseException as error:
        leave_alone(error)
    dist.destroy_process_group()


def leave_alone(error: BaseException) -> NoReturn:
    """Say what went wrong in this process and end it at once, so that torchrun ends the others.

    An orderly end would wait for the others in NCCL's destructors, while they wait for this one, for `PATIENCE`.
    """
    code: int = 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif isinstance(error, InputError):
        code = 2
        print(f"error: {error}", file=sys.stderr)
    else:
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
