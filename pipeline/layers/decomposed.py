"""A 3x3 convolution with a learnt fractional scale as one or two ordinary dilated ones (POD, section 3.2)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.layers.decomposition import SubConv
from pipeline.layers.grouped_dilated import GroupedDilatedConv2d


class DecomposedConv2d(nn.Module):
    """The sub-convolutions of one 3x3 convolution, their outputs concatenated (POD, section 3.2).

    Output channel r keeps the group that it has in the undecomposed convolution. Where groups > 1, a sub-convolution is
    therefore stored as up to three `convs`, each on the input channels of its groups.

    Raises:
        ValueError: no sub-convolution, or channels that groups does not divide.
    """

    def __init__(
        self, in_channels: int, sub_convs: Sequence[SubConv], stride: int = 1, groups: int = 1, bias: bool = False
    ) -> None:
        super().__init__()
        self.sub_convs = [SubConv(*sub) for sub in sub_convs]
        self.in_channels, self.stride, self.groups = in_channels, stride, groups
        self.out_channels = sum(sub.out_channels for sub in self.sub_convs)
        if not self.sub_convs:
            raise ValueError("sub_convs is empty; give the list that decompose() returns.")
        for name, channels in (("in_channels", in_channels), ("the sum of out_channels", self.out_channels)):
            if groups < 1 or channels % groups:
                raise ValueError(f"{name} must be a multiple of groups = {groups}, got {channels}.")
        depth, height = in_channels // groups, self.out_channels // groups
        self.convs = nn.ModuleList()
        self._inputs: list[slice] = []
        first = 0
        for sub in self.sub_convs:
            for start, stop in _group_spans(first, first + sub.out_channels, height):
                whole = max(1, (stop - start) // height)
                begin = start // height * depth
                self._inputs.append(slice(begin, begin + whole * depth))
                conv = GroupedDilatedConv2d(
                    whole * depth, stop - start, sub.kernel, stride, sub.padding, sub.dilation, whole, bias
                )
                self.convs.append(conv)
            first += sub.out_channels
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw Kaiming normal weights by the fan-out of the whole layer, so that no part is louder; zero the bias."""
        for conv in self.convs:
            fan_out = self.out_channels * conv.kernel_size[0] * conv.kernel_size[1]
            nn.init.normal_(conv.weight, std=math.sqrt(2.0 / fan_out))
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W] to [N, C_out, floor((H - 1) / stride) + 1, ...]."""
        if len(self.convs) == 1:
            return self.convs[0](x)
        if self.groups == 1:
            return torch.cat([conv(x) for conv in self.convs], dim=1)
        return torch.cat([conv(x[:, part]) for conv, part in zip(self.convs, self._inputs, strict=True)], dim=1)

    @torch.no_grad()
    def transfer_(self, weight: Tensor, mode: str = "centre", bias: Tensor | None = None) -> DecomposedConv2d:
        """Copy the rows of a GSL or plain weight [C_out, C_in/groups, 3, 3] into the sub-convolutions, in place.

        Args:
            weight: the weight of the undecomposed convolution.
            mode: what a kernel axis of size 1 takes. "centre" is the paper's "values of corresponding position"
                (section 3.3); "sum" adds the axis up, which is what dilation 0 computes.
            bias: its bias [C_out], for a layer that has one; None leaves the biases as they are.

        Raises:
            ValueError: another mode, a weight or bias of another shape, or a bias for a layer without one.
        """
        if mode not in ("centre", "sum"):
            raise ValueError(f"mode must be 'centre' or 'sum', got {mode!r}.")
        expected = [self.out_channels, self.in_channels // self.groups, 3, 3]
        if list(weight.shape) != expected:
            raise ValueError(f"Expected a weight of shape {expected}, got {list(weight.shape)}.")
        if bias is not None and (self.convs[0].bias is None or list(bias.shape) != expected[:1]):
            held = "none" if self.convs[0].bias is None else f"shape {expected[:1]}"
            raise ValueError(f"Expected a bias of {held}, as the layer has, got shape {list(bias.shape)}.")
        first = 0
        for conv in self.convs:
            rows = weight[first : first + conv.out_channels]
            if bias is not None:
                conv.bias.copy_(bias[first : first + conv.out_channels])
            first += conv.out_channels
            for axis, size in zip((2, 3), conv.kernel_size, strict=True):
                if size == 1:
                    rows = rows.narrow(axis, 1, 1) if mode == "centre" else rows.sum(axis, keepdim=True)
            conv.weight.copy_(rows)
        return self

    @torch.no_grad()
    def affine_(self, scale: Tensor, shift: Tensor) -> None:
        """Fold a norm into the layer, which then computes scale * y + shift ([C_out] each) instead of y."""
        sizes = [conv.out_channels for conv in self.convs]
        for conv, factor, term in zip(self.convs, scale.split(sizes), shift.split(sizes), strict=True):
            conv.weight.mul_(factor[:, None, None, None])
            if conv.bias is None:
                conv.bias = nn.Parameter(term.clone())
            else:
                conv.bias.mul_(factor).add_(term)


def _group_spans(start: int, stop: int, height: int) -> list[tuple[int, int]]:
    """Cut rows [start, stop) into the end of one group, whole groups and the start of another."""
    cuts = {start, stop}
    for cut in (-(-start // height) * height, stop // height * height):
        if start < cut < stop:
            cuts.add(cut)
    return list(itertools.pairwise(sorted(cuts)))
