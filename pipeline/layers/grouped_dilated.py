"""Grouped dilated convolutions whose bfloat16 gradients are right on every CPU.

On CPUs with AVX-512 bf16 instructions, a kernel of oneDNN 3.10 (torch 2.11) returns a wrong, at times infinite, weight
gradient. It is used for channels_last bfloat16 tensors, several groups whose width is no multiple of 16, a dilation
above 1, stride 1 and maps of about 24 pixels or more. The same convolution of contiguous tensors is right.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.utils import _pair as pair

Size = int | tuple[int, int]


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Return `torch.nn.functional.conv2d` of x [N, C_in, H, W] with weight [C_out, C_in/groups, k, k]."""
    if not torch.is_grad_enabled() or not has_wrong_gradient(x, weight, dilation, groups):
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    y = F.conv2d(*channels_first(x, weight), bias, stride, padding, dilation, groups)
    last = is_channels_last(x) or is_channels_last(weight)
    return y.contiguous(memory_format=torch.channels_last) if last else y


def channels_first(*tensors: Tensor) -> list[Tensor]:
    """Copy tensors to strides that torch cannot mistake for channels_last, as it can where a dimension is 1."""
    return [tensor.clone(memory_format=torch.contiguous_format) for tensor in tensors]


def has_wrong_gradient(x: Tensor, weight: Tensor, dilation: Size, groups: int) -> bool:
    """Tell whether oneDNN may use its wrong kernel for the weight gradient of this convolution in channels_last."""
    if groups == 1 or x.device.type != "cpu" or max(pair(dilation)) == 1 or torch.compiler.is_compiling():
        return False
    narrow = weight.shape[1] % 16 or weight.shape[0] // groups % 16
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return bool(narrow) and dtype == torch.bfloat16


def is_channels_last(x: Tensor) -> bool:
    """Tell whether the channels of a pixel are adjacent in memory and the tensor is not contiguous as well."""
    return x.stride(1) == 1 and not x.is_contiguous()


class GroupedDilatedConv2d(nn.Conv2d):
    """A standard convolution that may have groups and a dilation (`conv2d` above)."""

    @classmethod
    def of(cls, conv: nn.Conv2d) -> GroupedDilatedConv2d:
        """Return a layer with the sizes of a standard convolution, sharing its parameters."""
        sizes = conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.bias is not None
        layer = cls(conv.in_channels, conv.out_channels, *sizes, device="meta")
        layer.weight, layer.bias = conv.weight, conv.bias
        return layer

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W]."""
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
