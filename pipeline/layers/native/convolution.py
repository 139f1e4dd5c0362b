"""A PSConv layer in the C++ kernel: forward and both gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.layers.grouped_dilated import is_channels_last
from pipeline.layers.native.kernel import Blocks
from pipeline.layers.native.library import load
from pipeline.layers.psconv_function import CpuConv
from pipeline.layers.psconv_lattice import Lattice, Plan

_CL = torch.channels_last


class NativeConv(CpuConv):
    """`grouped_conv2d` of one layer in the C++ kernel, where `ready` finds one."""

    def __init__(self, lattice: Lattice, plan: Plan, stride: int, kernel_size: int) -> None:
        super().__init__(plan, stride)
        self.blocks = Blocks.of(lattice, plan, stride, kernel_size)

    def ready(self, dtype: torch.dtype) -> bool:
        """Tell whether there is a kernel that computes this layer in this type."""
        return self.blocks is not None and load() is not None and load().knows(dtype)

    def pack(self, weight: Tensor) -> Tensor:
        """Return the weight in the order in which the kernel reads it."""
        return load().pack(self.blocks, weight)

    def forward(self, x: Tensor, weight: Tensor, packed: Tensor | None = None) -> Tensor:
        """Return the output, in the memory format that a plain convolution would give it."""
        packed = self.pack(weight) if packed is None else packed
        size = [(length - 1) // self.stride + 1 for length in x.shape[2:]]
        y = torch.empty((len(x), weight.shape[0], *size), dtype=x.dtype, device=x.device, memory_format=_CL)
        load().convolve(self.blocks, x.contiguous(memory_format=_CL), packed, y)
        return y if is_channels_last(x) or is_channels_last(weight) else y.contiguous()

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_weight: bool):
        """Return the gradients of x and of weight, None where not needed."""
        kernel, grad_x, grad_weight = load(), None, None
        grad = grad.contiguous(memory_format=_CL)
        if need_x:
            grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=_CL)
            packed = kernel.pack(self.blocks, weight, backward=True)
            kernel.convolve(self.blocks, grad, packed, grad_x, backward=True)
        if need_weight:
            grad_weight = kernel.weight_gradient(self.blocks, grad, x.contiguous(memory_format=_CL))
        return grad_x, grad_weight
