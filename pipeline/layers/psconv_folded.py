"""PSConv between layers that take over its channel orders: the largest term then needs no copy (CPU, no gradients)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from pipeline.layers.psconv_cpu import CpuGroupedConv
from pipeline.layers.psconv_lattice import Plan, Term


class FoldedConv:
    """The convolution of `CpuGroupedConv` for inputs in the order `inputs` and outputs in the order `outputs`.

    Orders list blocks of channels as the first, largest term reads and writes them: (1, 3, 0, 2) and (0, 2, 1, 3) for
    the paper's pattern. The groups of the other terms are put in
    the order of their outputs, and only their inputs are copied.
    """

    def __init__(self, conv: CpuGroupedConv, stride: int, kernel_size: int) -> None:
        plan, first = conv.plan, conv.plan.terms[0]
        self.inputs, self.outputs = first.inputs, first.outputs
        self._conv, self._plain, self._groups = (
            copy.copy(conv),
            conv,
            [group_order(t, self.outputs) for t in plan.terms],
        )
        terms = []
        for term, order in zip(plan.terms, self._groups, strict=True):
            size = len(term.inputs) // term.groups
            blocks = [term.inputs[group * size + place] for group in order for place in range(size)]
            natural = tuple(range(plan.output_blocks))
            terms.append(term._replace(inputs=tuple(map(self.inputs.index, blocks)), outputs=natural))
        self._conv.use_forward_terms(tuple(terms), stride, kernel_size)

    def pack(self, weight: Tensor) -> list[Tensor]:
        """Return every term's kernels, their groups in order, from the dense weight in its public order."""
        packed = []
        for kernels, order in zip(self._plain.pack(weight), self._groups, strict=True):
            groups = kernels.permute(0, 2, 3, 1).unflatten(0, (len(order), -1))
            packed.append(groups[torch.tensor(order)].flatten(0, 1).permute(0, 3, 1, 2))
        return packed

    def __call__(self, x: Tensor, weight: Tensor, kernels: list[Tensor]) -> Tensor:
        """Convolve x [N, C_in, H, W] with kernels that `pack` made of the weight."""
        return self._conv.forward(x, weight, kernels)


def foldable(plan: Plan | None) -> bool:
    """Tell whether neighbouring layers can take over a plan's orders, and a copy less is needed then."""
    if plan is None or plan.interleaved or len(plan.terms) < 2:
        return False
    first, natural = plan.terms[0], tuple(range(plan.output_blocks))
    moves = first.inputs != tuple(range(plan.input_blocks)) and first.outputs != natural
    return moves and all(group_order(term, first.outputs) is not None for term in plan.terms)


def group_order(term: Term, outputs: tuple[int, ...]) -> list[int] | None:
    """Return the order of a term's groups in which it writes blocks as `outputs` lists them, or None."""
    if sorted(term.outputs) != sorted(outputs):
        return None
    size = len(outputs) // term.groups
    own = [term.outputs[start : start + size] for start in range(0, len(outputs), size)]
    wanted = [outputs[start : start + size] for start in range(0, len(outputs), size)]
    return [own.index(part) for part in wanted] if sorted(own) == sorted(wanted) else None
