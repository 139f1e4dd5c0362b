"""Several processes, one GPU or CPU share each, as torchrun starts them: equal parts of a batch, mean gradients."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.errors import InputError

T = TypeVar("T")
PATIENCE = datetime.timedelta(hours=4)  # the first process may have to decode all of ImageNet before the others start


@dataclass(frozen=True)
class World:
    """This process among all; one process alone needs no communication and changes nothing."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, rows: Sequence[int]) -> list[int]:
        """Return this process's part of a batch. Raises InputError where the parts would not be equal."""
        if len(rows) % self.size:
            raise InputError(
                f"A batch of {len(rows)} cannot be shared by {self.size} processes; take a number that divides it."
            )
        return list(rows[self.rank :: self.size])

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return a model whose gradients become means over processes; keep it as long as gradients are computed."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def means(self, values: dict[str, float | None], device: torch.device) -> dict[str, float | None]:
        """Return the mean of every value over processes; all of them must give the same names."""
        if self.size == 1:
            return values
        names = [name for name, value in values.items() if value is not None]
        row = torch.tensor([values[name] for name in names], dtype=torch.float64).to(device)
        dist.all_reduce(row)
        return values | dict(zip(names, (row / self.size).tolist(), strict=True))

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

    def share_buffers(self, model: nn.Module) -> None:
        """Give all processes process 0's buffers: batch norm's statistics are of each process's own images."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()

    def main_first(self, work: Callable[[], T]) -> T:
        """Do the work in process 0, then in the others, which find what it left on disk."""
        if not self.main:
            self.wait()
        result = work()
        if self.main:
            self.wait()
        return result


ALONE = World()


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that torchrun started (WORLD_SIZE above 1); alone otherwise.

    GPUs talk through NCCL, CPUs through Gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield World(dist.get_rank(), size, local)
    finally:
        dist.destroy_process_group()
