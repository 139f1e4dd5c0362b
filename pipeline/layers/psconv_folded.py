"""PSConv between layers that take over its channel orders: the largest term then needs no copy (CPU, no gradients)."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.layers.psconv_cpu import CpuGroupedConv, Step, batch_parts
from pipeline.layers.psconv_lattice import Plan, Term
from pipeline.layers.psconv_onednn import convolve


class FoldedConv:
    """The convolution of `CpuGroupedConv` for inputs in the order `inputs` and outputs in the order `outputs`.

    Orders list blocks of channels as the first, largest term reads and writes them: (1, 3, 0, 2) and (0, 2, 1, 3) for
    the paper's pattern. The groups of the other terms are put in
    the order of their outputs, and only their inputs are copied.
    """

    def __init__(self, conv: CpuGroupedConv, stride: int, kernel_size: int) -> None:
        plan, self._conv = conv.plan, conv
        self.inputs, self.outputs = plan.terms[0].inputs, plan.terms[0].outputs
        self._groups = [group_order(term, self.outputs) for term in plan.terms]
        self._steps = []
        for term, order in zip(plan.terms, self._groups, strict=True):
            size = len(term.inputs) // term.groups
            blocks = [term.inputs[group * size + place] for group in order for place in range(size)]
            natural = tuple(range(plan.output_blocks))
            folded = term._replace(inputs=tuple(map(self.inputs.index, blocks)), outputs=natural)
            self._steps.append(Step.of(folded, plan, stride, kernel_size))

    def pack(self, weight: Tensor) -> list[Tensor]:
        """Return every term's kernels, their groups in order, from the dense weight in its public order."""
        packed = []
        for kernels, order in zip(self._conv.pack(weight), self._groups, strict=True):
            groups = kernels.permute(0, 2, 3, 1).unflatten(0, (len(order), -1))
            packed.append(groups[torch.tensor(order)].flatten(0, 1).permute(0, 3, 1, 2))
        return packed

    def __call__(self, x: Tensor, weight: Tensor, kernels: list[Tensor]) -> Tensor:
        """Convolve x [N, C_in, H, W], channels_last, with kernels that `pack` made of the weight."""
        parts = list(batch_parts(x, weight)) or [slice(0, 0)]
        if len(parts) == 1:
            return self._sum(x, kernels)
        first = self._sum(x[parts[0]], kernels)
        y = torch.empty((len(x), *first.shape[1:]), dtype=x.dtype, memory_format=torch.channels_last)
        y[parts[0]] = first
        for images in parts[1:]:
            y[images] = self._sum(x[images], kernels)
        return y

    def _sum(self, x: Tensor, kernels: list[Tensor]) -> Tensor:
        total = None
        for step, part in zip(self._steps, kernels, strict=True):
            total = convolve(step.take_input(x), part, *step.geometry, step.term.groups, total)
        return total


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
