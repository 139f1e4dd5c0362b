"""oneDNN convolutions for PSConv terms: a forward that adds into its output, and gradients that avoid a slow case."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.layers.grouped_dilated import channels_first, has_wrong_gradient

_CL = torch.channels_last
# The types in which oneDNN convolves and adds at once here: bf16 takes AVX-512, without which it would end in an error.
_BF16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
_ADDING = (torch.float32, torch.bfloat16) if _BF16 else (torch.float32,)


def convolve(x: Tensor, kernels: Tensor, stride: int, padding: int, dilation: int, groups: int, total: Tensor | None):
    """Return the convolution of x, added into `total` (channels_last) where that is given."""
    if total is None:
        return torch.conv2d(x, kernels, None, stride, padding, dilation, groups)
    if x.dtype in _ADDING and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled and total.numel():
        sizes = [padding, padding], [stride, stride], [dilation, dilation]
        return torch.ops.mkldnn._convolution_pointwise_(
            total, x, kernels, None, *sizes, groups, "add", None, None, [], None
        )
    return total.add_(torch.conv2d(x, kernels, None, stride, padding, dilation, groups))


def convolution_backward(
    grad: Tensor,
    x: Tensor,
    kernels: Tensor,
    stride: int,
    padding: int,
    dilation: int,
    groups: int,
    need_x: bool,
    need_kernels: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of x and of kernels; channels_last.

    For a dilated kernel larger than the map, oneDNN computes the weight gradient by a general matrix product, two to
    six times slower than by convolution. Taps are then multiplied one by one (float32), or x is padded beforehand.
    """

    def run(x, kernels, padding, *needs):
        sizes = [stride, stride], [padding, padding], [dilation, dilation]
        return torch.ops.aten.convolution_backward(
            grad, x, kernels, None, *sizes, False, [0, 0], groups, [*needs, False]
        )

    def backward(x, padding, need_x, need_kernels):
        if not need_kernels or not has_wrong_gradient(x, kernels, dilation, groups):
            return run(x, kernels, padding, need_x, need_kernels)
        found_x = run(x, kernels, padding, True, False)[0] if need_x else None
        found = run(*channels_first(x, kernels), padding, False, True)[1]
        return found_x, found.contiguous(memory_format=_CL)

    if not need_kernels or padding == 0 or 2 * padding + 1 <= min(x.shape[2:]) or not x.numel():
        return backward(x, padding, need_x, need_kernels)[:2]
    grad_x = backward(x, padding, True, False)[0] if need_x else None
    if x.dtype in (torch.float32, torch.float64):
        return grad_x, _kernel_grad_by_taps(grad, x, kernels, stride, padding, dilation, groups)
    padded = F.pad(x, [padding] * 4).contiguous(memory_format=_CL)
    return grad_x, backward(padded, 0, False, True)[1]


def _kernel_grad_by_taps(grad, x, kernels, stride: int, padding: int, dilation: int, groups: int) -> Tensor:
    """Return the kernels' gradient by one matrix product per tap, over the pixels where the tap is inside the map."""
    out_channels, into, size, _ = kernels.shape
    result = kernels.new_zeros(out_channels, size, size, into).permute(0, 3, 1, 2)
    grad, x = grad.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)

    def span(tap: int, length: int, out: int) -> tuple[slice, slice] | None:
        offset = tap * dilation - padding
        first, last = max(0, -(offset // stride)), min(out, (length - 1 - offset) // stride + 1)
        start = first * stride + offset
        return (slice(first, last), slice(start, start + stride * (last - first), stride)) if last > first else None

    rows = [span(tap, x.shape[1], grad.shape[1]) for tap in range(size)]
    columns = [span(tap, x.shape[2], grad.shape[2]) for tap in range(size)]
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if row and column:
                out = grad[:, row[0], column[0]].reshape(-1, groups, out_channels // groups)
                inner = x[:, row[1], column[1]].reshape(-1, groups, into)
                result[:, :, i, j] = torch.bmm(out.permute(1, 2, 0), inner.transpose(0, 1)).flatten(0, 1)
    return result
