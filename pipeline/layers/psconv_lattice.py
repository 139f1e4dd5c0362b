"""The dilation lattice of PSConv and its split into grouped convolutions with a plain convolution's multiply-adds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Lattice(NamedTuple):
    """What determines the dilation of every kernel: sizes, the pattern, the axes that carry it and the layout."""

    in_channels: int
    out_channels: int
    groups: int
    dilations: tuple[int, ...]
    axes: str
    layout: str

    @property
    def depthwise(self) -> bool:
        """Whether a group has one channel: the pattern then runs over the groups (appendix A)."""
        return self.groups > 1 and self.groups == self.in_channels == self.out_channels

    @property
    def interleaved(self) -> bool:
        """Whether neighbouring channels belong to different blocks."""
        return self.layout == "interleaved" or self.depthwise

    def table(self) -> Tensor:
        """Return the dilation of every kernel, int [C_out, C_in/groups], on the CPU."""
        period, depth = len(self.dilations), self.in_channels // self.groups
        c = torch.arange(self.out_channels, device="cpu")[:, None]
        k = torch.arange(depth, device="cpu")[None, :]
        if not self.interleaved:
            # An axis that carries no pattern needs no blocks, so its division may be inexact.
            c = c // max(1, self.out_channels // self.groups // period)
            k = k // max(1, depth // period)
        if self.depthwise or self.axes == "output":
            index = c + 0 * k
        elif self.axes == "input":
            index = k + 0 * c
        else:
            index = k - c + 1
        return torch.tensor(self.dilations, dtype=torch.int32, device="cpu")[index % period]

    def distinct(self) -> tuple[int, ...]:
        """Return the dilations that occur, in order."""
        return tuple(self.table().unique().tolist())

    def masks(self) -> Tensor:
        """Return the kernels of each distinct dilation as masks, bool [dilations, C_out, C_in/groups], on the CPU."""
        table = self.table()
        return torch.stack([table == dilation for dilation in self.distinct()])

    def block_table(self, plan: Plan) -> Tensor:
        """Return the dilation of every (row block, column block) of a group, int [plan.rows, plan.columns]."""
        table = self.table()
        if plan.interleaved:
            return table[: plan.rows, : plan.columns]
        height, width = table.shape[0] // plan.output_blocks, table.shape[1] // plan.columns
        return table[: plan.rows * height : height, ::width]


class Term(NamedTuple):
    """One grouped convolution of one dilation over blocks of channels.

    `weight_rows` and `weight_columns` pick blocks of the weight (None: all). Of what is left, row block r meets column
    block k where k - r is `shift` modulo `parts`: `parts` dense rectangles, which are the convolution's groups. They
    stand in the order of their rows, or with `by_input` in that of their columns.
    """

    dilation: int
    groups: int
    parts: int
    shift: int
    inputs: tuple[int, ...]  # blocks of the input, over all layer groups, in the order the convolution reads them
    outputs: tuple[int, ...]
    weight_rows: tuple[int, ...] | None
    weight_columns: tuple[int, ...] | None
    width: int  # channels per group, the smaller of in and out
    by_input: bool = False


class Plan(NamedTuple):
    """A whole layer as terms. Blocks are counted over all layer groups; `rows` and `columns` are those of one group.

    `terms` spare reordering outputs; `terms_by_input`, the same convolutions, spare reordering the input's gradient.
    """

    groups: int
    rows: int
    columns: int
    input_blocks: int
    output_blocks: int
    interleaved: bool
    terms: tuple[Term, ...]
    terms_by_input: tuple[Term, ...]

    @property
    def width(self) -> int:
        """Channels per group of the thinnest term."""
        return min(term.width for term in self.terms)


def make_plan(lattice: Lattice) -> Plan | None:
    """Split a lattice into grouped convolutions whose multiplications add up to those of a plain convolution.

    Rows and columns of equal residue form dense rectangles. The offsets k - c of one dilation are therefore split into
    cosets of the cyclic group, the largest first: (1, 2, 1, 4) gives 1/2 + 1/4 + 1/4 of a plain convolution, seven 1s
    and one 2 give 1/2 + 1/4 + 1/8 + 1/8.

    Returns:
        None where the channels do not fall into equal blocks (interleaved layout only).
    """
    pattern = _shortest(lattice.dilations) if lattice.interleaved else lattice.dilations
    if len(set(pattern)) == 1:
        pattern = pattern[:1]
    period, groups = len(pattern), 1 if lattice.depthwise else lattice.groups
    axes = "output" if lattice.depthwise else lattice.axes
    rows, columns = period if axes != "input" else 1, period if axes != "output" else 1
    into = period if lattice.depthwise else columns  # the input of a depthwise layer splits as its output does
    if lattice.out_channels % (groups * rows) or lattice.in_channels % (groups * into):
        return None
    height, width = lattice.out_channels // groups // rows, lattice.in_channels // groups // into
    terms, by_input = [], []
    for dilation in sorted(set(pattern)):
        places = [place for place in range(period) if pattern[place] == dilation]
        if axes == "both":
            for parts, shift in _cosets([(place - 1) % period for place in places], period):
                plain = _all_groups(_by_residue(period, parts, 0), groups, period)
                ahead = _all_groups(_by_residue(period, parts, shift), groups, period)
                behind = _all_groups(_by_residue(period, parts, -shift), groups, period)
                common = (groups * parts, parts, shift)
                rest = (None, None, min(height, width) * (period // parts))
                terms.append(Term(dilation, *common, ahead, plain, *rest))
                by_input.append(Term(dilation, *common, plain, behind, *rest, by_input=True))
            continue
        inputs, outputs = (places, range(rows)) if axes == "input" else (range(columns), places)
        convolutions = groups
        if lattice.depthwise:
            inputs, convolutions = places, height * len(places)
        chosen = tuple(places) if period > 1 else None
        term = Term(
            dilation,
            convolutions,
            1,
            0,
            _all_groups(inputs, groups, into),
            _all_groups(outputs, groups, rows),
            chosen if axes == "output" else None,
            chosen if axes == "input" else None,
            min(height * len(outputs), width * len(inputs)) * groups // convolutions,
        )
        terms.append(term)
        by_input.append(term)
    blocks = (groups * into, groups * rows)
    return Plan(groups, rows, columns, *blocks, lattice.interleaved, tuple(terms), tuple(by_input))


def _shortest(pattern: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shortest pattern that repeats to this one: (1, 2, 1, 2) is (1, 2)."""
    lengths = (length for length in range(1, len(pattern) + 1) if len(pattern) % length == 0)
    return next(pattern[:length] for length in lengths if pattern[:length] * (len(pattern) // length) == pattern)


def _cosets(offsets: list[int], period: int) -> Iterator[tuple[int, int]]:
    """Split offsets modulo period into sets {shift, shift + parts, ...}, the largest first."""
    left = set(offsets)
    for parts in (parts for parts in range(1, period + 1) if period % parts == 0):
        for shift in range(parts):
            coset = set(range(shift, period, parts))
            if coset <= left:
                left -= coset
                yield parts, shift


def _by_residue(period: int, parts: int, first: int) -> list[int]:
    """List blocks by their residue modulo parts, from residue `first` on: (4, 2, 1) gives 1, 3, 0, 2."""
    return [(part + first) % parts + step for part in range(parts) for step in range(0, period, parts)]


def _all_groups(blocks, groups: int, blocks_per_group: int) -> tuple[int, ...]:
    return tuple(group * blocks_per_group + block for group in range(groups) for block in blocks)
