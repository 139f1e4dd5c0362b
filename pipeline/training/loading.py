"""Batches by number, made ahead of need by the machine's `workers`."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.machine import loader_workers


def prefetched(batches: Dataset, numbers: range) -> Iterator[Any]:
    """Iterate over some batches of a data set, in order.

    Workers live as long as the iterator; for a GPU, batches come in pinned memory, which it reads by itself.
    """
    # A separate generator: a loader draws a number when it starts, which in a resumed run is another step.
    own = torch.Generator()
    settings = {"num_workers": loader_workers(), "generator": own, "pin_memory": torch.cuda.is_available()}
    return iter(DataLoader(batches, batch_size=None, sampler=numbers, **settings))
