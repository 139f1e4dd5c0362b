"""Multi-scale fusion module: branches that see a block's features at several sizes (MSFM, section 3.1)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.layers.group_norm import GroupNorm


class MultiScaleFusion(nn.Module):
    """M(x) = x + U(C(F_1(S(x)), ..., F_n(S(x)))), F_s: resize by s, `convs` times 3x3 + GN + ReLU, resize back.

    S squeezes to channels / ratio (1x1, GN, ReLU), U restores (1x1, GN), C adds or concatenates. U's norm starts at
    zero, so the module starts as the identity and keeps what a pre-trained backbone computes.

    Differs from the paper, which states neither the norms after S and U nor the start: its printed parameter counts
    require a bias and a norm on every convolution. A norm has gcd(`norm_groups`, channels) groups.

    Args:
        channels: of the input and the output.
        ratio: of squeezing.
        scales: one branch each.
        convs: 3x3 convolutions in a branch, one int for all or one for each scale.
        norm_groups: of the branches' group norms.
        fusion: "add" or "concat".

    Raises:
        ValueError: an argument that does not fit.
    """

    def __init__(
        self,
        channels: int,
        ratio: int,
        scales: Sequence[float] = (0.5, 0.7, 1.0, 1.4, 2.0),
        convs: int | Sequence[int] = 2,
        norm_groups: int = 32,
        fusion: str = "add",
    ) -> None:
        super().__init__()
        self.scales = tuple(float(scale) for scale in scales)
        depths = (convs,) * len(self.scales) if isinstance(convs, int) else tuple(convs)
        if ratio < 1 or channels < ratio or channels % ratio:
            raise ValueError(f"ratio must divide channels = {channels}, got {ratio}.")
        if not self.scales or any(not math.isfinite(scale) or scale <= 0 for scale in self.scales):
            raise ValueError(f"scales must be positive numbers, got {scales}.")
        if len(depths) != len(self.scales) or any(depth < 1 for depth in depths):
            raise ValueError(f"convs must be positive, one or {len(self.scales)} of them, got {convs}.")
        if norm_groups < 1:
            raise ValueError(f"norm_groups must be positive, got {norm_groups}.")
        if fusion not in ("add", "concat"):
            raise ValueError(f"fusion must be 'add' or 'concat', got {fusion!r}.")
        self.fusion = fusion
        middle = channels // ratio
        fused = middle if fusion == "add" else middle * len(self.scales)
        self.squeeze = nn.Sequential(*_conv_norm(channels, middle, 1, norm_groups), nn.ReLU(inplace=True))
        self.branches = nn.ModuleList(
            nn.Sequential(
                *[
                    layer
                    for _ in range(depth)
                    for layer in (*_conv_norm(middle, middle, 3, norm_groups), nn.ReLU(inplace=True))
                ]
            )
            for depth in depths
        )
        self.unsqueeze = nn.Sequential(*_conv_norm(fused, channels, 1, norm_groups))
        nn.init.zeros_(self.unsqueeze[-1].weight)

    def forward(self, x: Tensor) -> Tensor:
        """Fuse x [N, C, H, W] into the same shape."""
        squeezed = self.squeeze(x)
        size = squeezed.shape[2:]
        features = []
        for scale, branch in zip(self.scales, self.branches, strict=True):
            scaled = [max(1, math.floor(side * scale)) for side in size]
            features.append(_resize(branch(_resize(squeezed, scaled)), size))
        fused = _sum(features) if self.fusion == "add" else torch.cat(features, dim=1)
        return self.unsqueeze(fused).to(x.dtype).add_(x)  # in place: no other operation needs the norm's output


def _conv_norm(in_channels: int, out_channels: int, kernel: int, norm_groups: int) -> tuple[nn.Conv2d, nn.GroupNorm]:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(conv.bias)
    return conv, GroupNorm(math.gcd(norm_groups, out_channels), out_channels, inplace=True)


def _sum(features: Sequence[Tensor]) -> Tensor:
    first, *others = features
    if not others:
        return first
    total = first + others[0]  # a new tensor, because a ReLU needs its output for the gradient
    for other in others[1:]:
        total.add_(other)
    return total


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
