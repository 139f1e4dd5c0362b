"""Deformable convolution v1 (Dai et al., 2017): every output position moves its own sampling grid."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode
from torchvision.ops import deform_conv2d

from pipeline.layers.kaiming import KaimingConv2d

Pair = tuple[int, int]


def deformable_conv2d(
    x: Tensor,
    offsets: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """Convolve x [N, C, H, W] at taps moved by offsets [N, offset groups * k_h * k_w * 2 (h, w), H', W'], in fp32.

    On a CPU, torchvision's operator goes pixel by pixel. Bilinear sampling followed by a matrix product is used there:
    it gives the same result several times as fast, and its backward pass is twenty times as fast.
    """
    arguments = (x.float(), offsets.float(), weight.float(), None if bias is None else bias.float())
    # Dispatch modes, such as the one that watches offsets, look for the operator.
    if x.device.type == "cpu" and not is_in_torch_dispatch_mode():
        return sampled_conv2d(*arguments, stride, padding, dilation)
    return deform_conv2d(*arguments, stride, padding, dilation)


def sampled_conv2d(
    x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Compute torchvision's `deform_conv2d` by `grid_sample` and a matrix product."""
    images, channels, height, width = x.shape
    kernel = weight.shape[-2:]
    taps, (rows, columns) = kernel[0] * kernel[1], offsets.shape[-2:]
    fields = offsets.shape[1] // (2 * taps)
    places = []
    for axis, size in enumerate((rows, columns)):
        outputs = torch.arange(size, dtype=x.dtype) * stride[axis] - padding[axis]
        inside = torch.arange(kernel[axis], dtype=x.dtype) * dilation[axis]
        places.append((outputs, inside))
    (top, down), (left, right) = places
    moves = offsets.reshape(images * fields, kernel[0], kernel[1], 2, rows, columns)
    # grid_sample's unit: -1 and 1 are the outer edges of the first and last pixel.
    still_y = (2 * (down[:, None, None, None] + top[:, None]) + 1) / height - 1
    still_x = (2 * (right[:, None, None] + left) + 1) / width - 1
    grid_x = torch.add(still_x, moves[:, :, :, 1], alpha=2 / width)
    grid = torch.stack([grid_x, torch.add(still_y, moves[:, :, :, 0], alpha=2 / height)], dim=-1)
    sampled = F.grid_sample(
        x.reshape(images * fields, channels // fields, height, width),
        grid.view(images * fields, taps * rows, columns, 2),
        align_corners=False,
    )
    groups = channels // weight.shape[1]
    patches = sampled.reshape(images, groups, weight.shape[1] * taps, rows * columns)
    kernels = weight.reshape(groups, weight.shape[0] // groups, -1)
    out = (kernels @ patches).reshape(images, weight.shape[0], rows, columns)
    return out if bias is None else out + bias[:, None, None]


class DeformableConv2d(KaimingConv2d):
    """A k x k convolution that reads its taps at predicted offsets, without masks (DCNv1).

    `offset_predictor` is a convolution with the layer's kernel size, stride and dilation and a bias. It starts at zero,
    so the layer starts as the plain convolution with the same `weight`.

    Raises:
        ValueError: channels that `offset_groups` does not divide.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        offset_groups: int = 1,
        bias: bool = False,
    ) -> None:
        if offset_groups < 1 or in_channels % offset_groups:
            raise ValueError(f"in_channels must be a multiple of offset_groups = {offset_groups}, got {in_channels}.")
        padding = dilation * (kernel_size // 2)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.offset_groups = offset_groups
        offsets = 2 * offset_groups * kernel_size**2
        self.offset_predictor = nn.Conv2d(in_channels, offsets, kernel_size, stride, padding, dilation)
        nn.init.zeros_(self.offset_predictor.weight)
        nn.init.zeros_(self.offset_predictor.bias)

    def predict_offsets(self, x: Tensor) -> Tensor:
        """Map x [N, C, H, W] to offsets in pixels, [N, offset groups * k * k * 2 (h, w), H', W']."""
        return self.offset_predictor(x)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W], in fp32 even under autocast because the operator has no bf16 kernel."""
        steps = (self.stride, self.padding, self.dilation)
        return deformable_conv2d(x, self.predict_offsets(x), self.weight, self.bias, *steps).to(x.dtype)
