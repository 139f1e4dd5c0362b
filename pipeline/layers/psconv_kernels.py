"""The kernels of a PSConv term: copied out of the dense weight for a convolution, and their gradient back into it."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.layers.psconv_lattice import Plan, Term


class _View(NamedTuple):
    """Arguments of as_strided."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


class TermKernels:
    """Packs the kernels of each term as [its outputs, its inputs per group, k, k], channels_last.

    The views are computed once for a weight's strides: computing a dozen of them in every call would cost as much as a
    small convolution.
    """

    def __init__(self, plan: Plan, terms: tuple[Term, ...]) -> None:
        self.plan, self.terms = plan, terms
        self._views: dict[tuple, list[list[tuple[_View, _View]]]] = {}

    def pack(self, dense: Tensor) -> list[Tensor]:
        """Copy every term's kernels out of the dense weight [C_out, C_in/groups, k, k], inputs in blocks."""
        packed = []
        for term, pairs in zip(self.terms, self._pairs(dense), strict=True):
            kernels = self._empty(term, dense)
            for inside, outside in pairs:
                _view(kernels, inside).copy_(_view(dense, outside))
            packed.append(kernels)
        return packed

    def unpack_(self, dense: Tensor, packed: list[Tensor]) -> Tensor:
        """Fill a dense weight with every term's kernels."""
        for kernels, pairs in zip(packed, self._pairs(dense), strict=True):
            kernels = kernels.permute(0, 2, 3, 1).contiguous()
            for inside, outside in pairs:
                _view(dense, outside).copy_(_view(kernels, inside))
        return dense

    def _pairs(self, dense: Tensor) -> list[list[tuple[_View, _View]]]:
        key = (dense.shape, dense.stride())
        if key not in self._views:
            weight = torch.empty_strided(dense.shape, dense.stride(), device="meta")
            found = []
            for term in self.terms:
                pairs = _pairs(self._empty(term, weight), weight, self.plan, term)
                found.append(
                    [tuple(_View(tuple(v.shape), v.stride(), v.storage_offset()) for v in pair) for pair in pairs]
                )
            self._views[key] = found
        return self._views[key]

    def _empty(self, term: Term, dense: Tensor) -> Tensor:
        plan = self.plan
        rows = plan.rows if term.weight_rows is None else len(term.weight_rows)
        columns = plan.columns if term.weight_columns is None else len(term.weight_columns)
        out = dense.shape[0] // plan.rows * rows
        into = dense.shape[1] // plan.columns * columns // term.parts
        return dense.new_empty((out, *dense.shape[2:], into)).permute(0, 3, 1, 2)


def _view(tensor: Tensor, view: _View) -> Tensor:
    return tensor.as_strided(view.size, view.stride, tensor.storage_offset() + view.offset)


def _pairs(packed: Tensor, weight: Tensor, plan: Plan, term: Term) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (part of a term's kernels, the same kernels as a view of the dense weight)."""
    dense = weight.unflatten(1, (plan.columns, -1))
    if plan.interleaved:
        dense = dense.unflatten(0, (plan.groups, -1, plan.rows)).transpose(1, 2)
    else:
        dense = dense.unflatten(0, (plan.groups, plan.rows, -1))  # [groups, rows, height, columns, width, k, k]
    height, width, *size = dense.shape[2], *dense.shape[4:]
    packed = packed.permute(0, 2, 3, 1)
    packed = packed.view(plan.groups, term.parts, -1, height, *size, packed.shape[3] // width, width)
    if term.weight_rows is not None:
        for place, row in enumerate(term.weight_rows):
            yield packed[:, 0, place], dense[:, row].permute(0, 1, 4, 5, 2, 3)
        return
    if term.weight_columns is not None:
        for place, column in enumerate(term.weight_columns):
            yield packed[:, 0, ..., place, :], dense[:, :, :, column].permute(0, 1, 2, 4, 5, 3)
        return
    dense = dense.unflatten(3, (-1, term.parts)).unflatten(1, (-1, term.parts))
    # Row residue r meets column residue r + shift, or r + shift - parts: two diagonals of the residues.
    cut = term.parts - term.shift
    by_row = (slice(0, cut), slice(cut, term.parts))
    by_column = (slice(term.shift, term.parts), slice(0, term.shift))
    for diagonal, places in zip((term.shift, -cut), by_column if term.by_input else by_row, strict=True):
        if places.start < places.stop:
            yield packed[:, places], dense.diagonal(diagonal, 2, 5).permute(0, 7, 1, 2, 5, 6, 3, 4)
