"""PSConv's grouped convolutions on the CPU, with few passes over memory and little Python.

Everything inside is channels_last. A block of channels is then contiguous in every pixel: `index_select` reorders
blocks at the price of a copy, `channel_shuffle` gathers interleaved channels as cheaply, and oneDNN needs no blocked
copies of the activations. oneDNN's convolution adds into its output where terms share the order of their outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.layers.grouped_dilated import is_channels_last
from pipeline.layers.psconv_function import CpuConv
from pipeline.layers.psconv_grouped import inverse
from pipeline.layers.psconv_kernels import TermKernels
from pipeline.layers.psconv_lattice import Plan, Term
from pipeline.layers.psconv_onednn import convolution_backward, convolve

_CL = torch.channels_last
# The batch is processed in parts, whose copies stay in the cache and need no fresh pages. A part has about this many
# bytes, and at least this many times the weight's bytes, because oneDNN repacks the weight in every call. Measured with
# a 2 MiB L2 cache: 1 to 8 MB differ little, 0.5 MB costs 5 % more, and no parts cost 10 to 100 % more from 10 MB on.
_PART_BYTES, _PART_WEIGHTS = 2e6, 3


class CpuGroupedConv(CpuConv):
    """`grouped_conv2d` of one layer as oneDNN's grouped convolutions."""

    def __init__(self, plan: Plan, stride: int, kernel_size: int) -> None:
        super().__init__(plan, stride)
        self.forward_kernels = TermKernels(plan, plan.terms)
        self.backward_kernels = TermKernels(plan, plan.terms_by_input)
        self.forward_steps = [Step.of(term, plan, stride, kernel_size) for term in plan.terms]
        self.backward_steps = [Step.of(term, plan, stride, kernel_size) for term in plan.terms_by_input]

    def pack(self, weight: Tensor) -> list[Tensor]:
        """Return every term's kernels."""
        return self.forward_kernels.pack(self._weight_to_blocks(weight))

    def forward(self, x: Tensor, weight: Tensor, kernels: list[Tensor] | None = None) -> Tensor:
        """Return the output, in the memory format that a plain convolution would give it."""
        plan = self.plan
        kernels = self.pack(weight) if kernels is None else kernels
        size = [(length - 1) // self.stride + 1 for length in x.shape[2:]]
        y = torch.empty((len(x), weight.shape[0], *size), dtype=x.dtype, memory_format=_CL)
        # Reordered sums first: oneDNN then adds the terms in natural order into them.
        steps = sorted(zip(self.forward_steps, kernels, strict=True), key=lambda pair: pair[0].restore_output is None)
        for images in batch_parts(x, weight):
            blocks, target = _to_blocks(x[images], plan.groups, plan.input_blocks, plan.interleaved), y[images]
            total = torch.empty_like(target) if plan.interleaved else target
            self._fill(total, blocks, steps)
            if plan.interleaved:
                target.copy_(_from_blocks(total, plan.groups, plan.output_blocks))
        return y if is_channels_last(x) or is_channels_last(weight) else y.contiguous()

    def _fill(self, target: Tensor, blocks: Tensor, steps: list[tuple[Step, Tensor]]) -> None:
        """Write the sum of all terms into target, whose blocks are in natural order."""
        filled, position = False, 0
        while position < len(steps):
            first = steps[position][0]
            natural = first.restore_output is None and not first.some_outputs
            total = target if natural and filled else None
            while position < len(steps) and steps[position][0].term.outputs == first.term.outputs:
                step, kernels = steps[position]
                total = convolve(step.take_input(blocks), kernels, *step.geometry, step.term.groups, total)
                position += 1
            if first.some_outputs or (filled and not natural):
                for to, taken in _runs(first.term.outputs, total.shape[1]):
                    target[:, to].copy_(total[:, taken]) if first.some_outputs else target[:, to].add_(total[:, taken])
            elif not filled:
                _take_into(target, total, first.restore_output)
            filled = True

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_weight: bool):
        """Return the gradients of x and of weight, None where not needed."""
        plan, dense = self.plan, self._weight_to_blocks(weight)
        kernels = self.backward_kernels.pack(dense)
        kernel_grads: list[Tensor | None] = [None] * len(kernels)
        grad_x = torch.empty(x.shape, dtype=x.dtype, memory_format=_CL) if need_x else None
        # A term that gives the gradient of every pixel comes first; the others are added to it.
        order = sorted(range(len(kernels)), key=lambda place: self.backward_steps[place].step > 1)
        for images in batch_parts(x, weight):
            blocks = _to_blocks(x[images], plan.groups, plan.input_blocks, plan.interleaved)
            grad_blocks = _to_blocks(grad[images], plan.groups, plan.output_blocks, plan.interleaved)
            total = None
            if need_x:
                total = torch.empty_like(blocks) if plan.interleaved else grad_x[images]
            inputs: dict[tuple, Tensor] = {}
            outputs: dict[tuple, Tensor] = {}
            for count, place in enumerate(order):
                step = self.backward_steps[place]
                key = (step.term.inputs, step.step)
                if key not in inputs:
                    inputs[key] = step.take_input(blocks)
                if step.term.outputs not in outputs:
                    outputs[step.term.outputs] = step.take_output(grad_blocks)
                found_x, found = convolution_backward(
                    outputs[step.term.outputs],
                    inputs[key],
                    kernels[place],
                    *step.geometry,
                    step.term.groups,
                    need_x,
                    need_weight,
                )
                if need_x:
                    self._add_input_gradient(total, found_x, step, first=count == 0)
                if need_weight:
                    kernel_grads[place] = found if kernel_grads[place] is None else kernel_grads[place].add_(found)
            if need_x and plan.interleaved:
                grad_x[images] = _from_blocks(total, plan.groups, plan.input_blocks)
        if not need_weight:
            return grad_x, None
        if not len(x):
            return grad_x, torch.zeros_like(weight)
        grad_weight = self.backward_kernels.unpack_(torch.empty_like(dense), kernel_grads)
        return grad_x, torch.channel_shuffle(grad_weight, plan.columns) if plan.interleaved else grad_weight

    def _add_input_gradient(self, total: Tensor, found: Tensor, step: Step, *, first: bool) -> None:
        apart = step.some_inputs  # such terms read every block once, so they write every block once
        if first and not apart and step.step == 1:
            _take_into(total, found, step.restore_input)
            return
        if step.restore_input is None and step.step == 1 and not apart:
            total.add_(found)
            return
        if first and (not apart or any(other.step > 1 for other in self.backward_steps)):
            total.zero_()
        for to, taken in _runs(step.term.inputs, found.shape[1]):
            view = total[:, to, :: step.step, :: step.step]
            view.copy_(found[:, taken]) if apart else view.add_(found[:, taken])

    def _weight_to_blocks(self, weight: Tensor) -> Tensor:
        """Move interleaved input channels into blocks; output channels are rows, which are free to pick."""
        if not self.plan.interleaved or self.plan.columns == 1:
            return weight
        return _shuffle(weight.contiguous(memory_format=_CL), 1, weight.shape[1] // self.plan.columns)


class Step(NamedTuple):
    """A term with all that its convolution needs, computed once; where an order is None, blocks stay as they are."""

    term: Term
    step: int  # take every step-th pixel of the input
    geometry: tuple[int, int, int]  # stride, padding and dilation on the pixels taken
    input_order: Tensor | None
    output_order: Tensor | None
    restore_input: Tensor | None
    restore_output: Tensor | None
    input_blocks: int
    output_blocks: int

    @classmethod
    def of(cls, term: Term, plan: Plan, stride: int, kernel_size: int) -> Step:
        # A dilation that the stride divides reads every stride-th pixel only: less to copy, and a stride of 1.
        step = stride if term.dilation % stride == 0 else 1
        dilation = term.dilation // step

        def orders(order: tuple[int, ...], blocks: int) -> list[Tensor | None]:
            if order == tuple(range(blocks)):
                return [None, None]
            return [torch.tensor(order, device="cpu"), torch.tensor(inverse(order), device="cpu")]

        input_order, restore_input = orders(term.inputs, plan.input_blocks)
        output_order, restore_output = orders(term.outputs, plan.output_blocks)
        geometry = (stride // step, dilation * (kernel_size // 2), dilation)
        blocks = (plan.input_blocks, plan.output_blocks)
        return cls(term, step, geometry, input_order, output_order, restore_input, restore_output, *blocks)

    @property
    def some_inputs(self) -> bool:
        return len(self.term.inputs) < self.input_blocks

    @property
    def some_outputs(self) -> bool:
        return len(self.term.outputs) < self.output_blocks

    def take_input(self, blocks: Tensor) -> Tensor:
        if self.step > 1:
            blocks = blocks[:, :, :: self.step, :: self.step]
        return _take(blocks, self.input_order, self.input_blocks)

    def take_output(self, blocks: Tensor) -> Tensor:
        return _take(blocks, self.output_order, self.output_blocks)


def _take(x: Tensor, order: Tensor | None, blocks: int) -> Tensor:
    """Take channel blocks of x in the given order; channels_last."""
    if order is None:
        return x.contiguous(memory_format=_CL)
    n, channels, height, width = x.shape
    taken = x.permute(0, 2, 3, 1).reshape(n * height * width, blocks, channels // blocks).index_select(1, order)
    return taken.view(n, height, width, len(order) * (channels // blocks)).permute(0, 3, 1, 2)


def _take_into(target: Tensor, x: Tensor, order: Tensor | None) -> None:
    """Write all blocks of x into target in the given order; both are channels_last."""
    if order is None:
        target.copy_(x)
        return
    n, channels, height, width = x.shape
    shape = (n * height * width, len(order), channels // len(order))
    pixels, out = x.permute(0, 2, 3, 1).reshape(shape), target.permute(0, 2, 3, 1).view(shape)
    torch.index_select(pixels, 1, order, out=out)


def _runs(order: tuple[int, ...], channels: int) -> Iterator[tuple[slice, slice]]:
    """Yield (channels in natural order, channels in `order`) of each run of consecutive blocks."""
    start, width = 0, channels // len(order)
    for end in range(1, len(order) + 1):
        if end == len(order) or order[end] != order[end - 1] + 1:
            first = order[start] * width
            yield slice(first, first + (end - start) * width), slice(start * width, end * width)
            start = end


def batch_parts(x: Tensor, weight: Tensor) -> Iterator[slice]:
    """Cut the batch into parts of nearly equal size."""
    least = max(_PART_BYTES / x.element_size(), _PART_WEIGHTS * weight.numel())
    length = -(-len(x) // max(1, int(x.numel() // least))) or 1
    for start in range(0, len(x), length):
        yield slice(start, start + length)


def _to_blocks(x: Tensor, groups: int, blocks: int, interleaved: bool) -> Tensor:
    x = x.contiguous(memory_format=_CL)
    return _shuffle(x, groups, x.shape[1] // blocks) if interleaved else x


def _from_blocks(x: Tensor, groups: int, blocks: int) -> Tensor:
    return _shuffle(x, groups, blocks // groups)


def _shuffle(x: Tensor, groups: int, parts: int) -> Tensor:
    """Read the channels of each group as a matrix of `parts` rows and transpose it; channels_last."""
    n, channels, height, width = x.shape
    if parts in (1, channels // groups) or not x.numel():
        return x
    # Groups lie side by side in a pixel: as pixels of their own, one shuffle serves all.
    apart = x.permute(0, 2, 3, 1).reshape(n, height, width * groups, channels // groups).permute(0, 3, 1, 2)
    shuffled = torch.channel_shuffle(apart.contiguous(memory_format=_CL), parts)
    return shuffled.permute(0, 2, 3, 1).reshape(n, height, width, channels).permute(0, 3, 1, 2)
