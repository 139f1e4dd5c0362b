"""Rows at which masks are true: a GPU is waited for once for all masks, or not at all."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.arriving import Arriving


class Rows:
    """Finds `torch.where(mask)[0]` of several masks [n], whose lengths a GPU counts from now on.

    If something else makes the host wait before `found` is called, the counts have arrived and `found` does not wait.
    """

    def __init__(self, masks: Sequence[Tensor]) -> None:
        self.masks = masks
        on_gpu = bool(masks) and masks[0].is_cuda
        self._counts = Arriving(torch.stack([mask.sum() for mask in masks])) if on_gpu else None

    def found(self) -> list[Tensor]:
        """Return the rows [k] of every mask, in rising order."""
        if self._counts is None:
            return [torch.where(mask)[0] for mask in self.masks]
        counts = self._counts.tolist()
        return [torch.nonzero_static(mask, size=count)[:, 0] for mask, count in zip(self.masks, counts, strict=True)]


def rows_where(masks: Sequence[Tensor]) -> list[Tensor]:
    """Return the rows [k] of every mask [n], in rising order, waiting for a GPU once."""
    return Rows(masks).found()


def offset_rows(rows: Sequence[Tensor], lengths: Sequence[int]) -> Tensor:
    """Return rows [k_i] of parts, which have these lengths, as rows [k] of the parts joined."""
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    return torch.cat([part + start for part, start in zip(rows, starts, strict=True)])
