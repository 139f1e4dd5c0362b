"""Deformable convolution of the first kind (Dai et al., 2017): every output position bends its own sampling grid."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.ops import deform_conv2d


class DeformableConv2d(nn.Conv2d):
    """A k x k convolution that reads its taps at predicted offsets; without masks (DCNv1).

    `offset_predictor` is a convolution with the layer's own kernel, stride and dilation and a bias; it starts at zero,
    where the layer equals the plain convolution with the same `weight`.

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

    def reset_parameters(self) -> None:
        """Kaiming normal, fan out; zero bias."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def predict_offsets(self, x: Tensor) -> Tensor:
        """Map x [N, C, H, W] to offsets in pixels, [N, offset groups * k * k * 2 (h, w), H', W']."""
        return self.offset_predictor(x)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W]."""
        offsets = self.predict_offsets(x)
        return deform_conv2d(x, offsets, self.weight.to(x.dtype), self.bias, self.stride, self.padding, self.dilation)
