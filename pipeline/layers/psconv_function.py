"""What all ways to compute PSConv on the CPU share: gradients of their own, and packed weights that are kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.layers.kept import Kept
from pipeline.layers.psconv_grouped import grouped_conv2d
from pipeline.layers.psconv_lattice import Plan


class CpuConv:
    """`grouped_conv2d` of one layer, in eager mode on the CPU; twice differentiable."""

    def __init__(self, plan: Plan, stride: int) -> None:
        self.plan, self.stride, self.kept = plan, stride, Kept()

    def __call__(self, x: Tensor, weight: Tensor, source: Tensor | None = None) -> Tensor:
        """Convolve x [N, C_in, H, W] with the dense weight [C_out, C_in/groups, k, k] of the same type.

        Args:
            source: what the weight is a copy of, if it is one; without gradients its packed kernels are kept.
        """
        if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
            self.kept.drop()
            return _Function.apply(x, weight, self)
        packed = self.kept.of([source], weight.dtype, lambda: self.pack(weight)) if source is not None else None
        return self.forward(x, weight, packed)

    def pack(self, weight: Tensor) -> Any:
        """Return the weight in the order in which `forward` reads it."""
        raise NotImplementedError

    def forward(self, x: Tensor, weight: Tensor, packed: Any = None) -> Tensor:
        """Return the output, in the memory format that a plain convolution would give it."""
        raise NotImplementedError

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_weight: bool):
        """Return the gradients of x and of weight, None where not needed."""
        raise NotImplementedError


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, conv):
        ctx.save_for_backward(x, weight)  # keeping the reordered copies would double the memory: remake them
        ctx.conv = conv
        return conv.forward(x, weight)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        if not torch.is_grad_enabled():
            return *ctx.conv.backward(grad, x, weight, *needs), None
        # create_graph=True: second derivatives go through plain operations.
        y = grouped_conv2d(x, weight, ctx.conv.plan, ctx.conv.stride)
        wanted = [tensor for tensor, need in zip((x, weight), needs, strict=True) if need]
        found = iter(torch.autograd.grad(y, wanted, grad, create_graph=True))
        return *(next(found) if need else None for need in needs), None
