"""Endless, stateless batch streams: batch i depends only on the seed and i, so a resumed run needs no state."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np


class BatchStream:
    """Shuffled batches of row numbers; images of a batch share an orientation as far as possible.

    An epoch visits each row once, except for rows left over that do not fill a batch, which differ from epoch to epoch.
    A set smaller than a batch is repeated to fill it.

    Args:
        groups: group number of every row (0 landscape, 1 portrait, ...).
        batch: rows in a batch.
        seed: of the shuffles; streams with different seeds are independent.
    """

    def __init__(self, groups: Sequence[int], batch: int, seed: int) -> None:
        if not len(groups):
            raise ValueError("A batch stream needs at least one row, found none; check the split's images.")
        self.groups = np.asarray(groups)
        self.size = batch
        self.seed = seed
        self.batches_per_epoch = max(1, len(self.groups) // batch)
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def batch(self, index: int) -> list[int]:
        """Return the rows of batch `index`, counted from 0 over all epochs."""
        epoch, position = divmod(index, self.batches_per_epoch)
        return self._epoch(epoch)[position].tolist()

    def _shuffled(self, epoch: int) -> np.ndarray:
        """Return all batches [batches, size] of one epoch."""
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, epoch])))
        order = random.permutation(len(self.groups))
        if len(order) < self.size:
            order = np.resize(order, self.size)
        full, rest = [], []
        for group in np.unique(self.groups):
            rows = order[self.groups[order] == group]
            whole = len(rows) // self.size * self.size
            full.append(rows[:whole].reshape(-1, self.size))
            rest.append(rows[whole:])
        remaining = np.concatenate(rest)
        mixed = remaining[: len(remaining) // self.size * self.size].reshape(-1, self.size)
        batches = np.concatenate([*full, mixed])
        return batches[random.permutation(len(batches))]


def orientations(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Return the group of every image size (height, width): 0 landscape or square, 1 portrait."""
    return [int(height > width) for height, width in sizes]
