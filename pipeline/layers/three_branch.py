"""The official PSConv layer, a sum of three convolutions, and its checkpoints as one dense weight."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.layers.grouped_dilated import GroupedDilatedConv2d
from pipeline.layers.kaiming import check_kernel_size

_FIRST_FEW = 3


class ThreeBranchPSConv2d(nn.Module):
    """The official layer as the sum of three convolutions, with its group-mask bug and its parameter names.

    It loads official checkpoints that `PSConv2d.from_three_branch` refuses: unless `groups` is 1 or `parts`, the
    official mask leaves most groups a full dense convolution beside the dilated ones. `conv.weight` is used as loaded;
    masked entries get no gradient. Source: PSConv2d and PSGConv2d of the official repository.

    Raises:
        ValueError: odd `parts`, an even kernel, or channels that groups * parts does not divide.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        dilation: int = 2,
        parts: int = 4,
    ) -> None:
        super().__init__()
        if parts < 2 or parts % 2:
            raise ValueError(f"parts must be even and positive, got {parts}; use 4 as the paper does.")
        check_kernel_size(kernel_size)
        if groups < 1 or dilation < 1:
            raise ValueError(f"groups and dilation must be positive integers, got {groups} and {dilation}.")
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels < 1 or channels % (groups * parts):
                raise ValueError(f"{name} must be a multiple of groups * parts = {groups * parts}, got {channels}.")
        self.groups, self.parts = groups, parts

        def conv(dilation: int, groups: int) -> nn.Conv2d:
            padding = dilation * (kernel_size // 2)
            layer = GroupedDilatedConv2d(
                in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
            )
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            return layer

        self.gwconv = conv(dilation, groups * parts)
        self.gwconv_shift = conv(2 * dilation, groups * parts)
        self.conv = conv(1, groups)
        mask = torch.zeros(out_channels, in_channels // groups, 1, 1, dtype=torch.bool)
        step_out, step_in = out_channels // (groups * parts), in_channels // (groups * parts)
        for part in range(parts):
            for group in range(groups):
                first = (part + group * groups) * step_out  # the bug: a group has `parts` blocks, not `groups`
                for column in (part, (part + parts // 2) % parts):
                    mask[first : first + step_out, column * step_in : (column + 1) * step_in] = True
        self.register_buffer("mask", mask, persistent=False)
        with torch.no_grad():
            self.conv.weight.masked_fill_(mask, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W]."""
        halves = x.unflatten(1, (self.groups, 2, -1))
        shifted = halves.flip(2).flatten(1, 3)
        dense = torch.where(self.mask, self.conv.weight.detach(), self.conv.weight)
        y = F.conv2d(x, dense, self.conv.bias, self.conv.stride, self.conv.padding, 1, self.groups)
        return y + self.gwconv(x) + self.gwconv_shift(shifted)


def count_parts(state_dict: Mapping[str, Tensor]) -> int:
    """Return the number of blocks per group of an official checkpoint.

    Raises:
        ValueError: a missing tensor, or shapes that do not belong together.
    """
    dense, grouped, shifted = (_take(state_dict, name) for name in ("conv", "gwconv", "gwconv_shift"))
    parts = dense.shape[1] // max(1, grouped.shape[1])
    fits = grouped.shape == shifted.shape == (dense.shape[0], dense.shape[1] // max(1, parts), *dense.shape[2:])
    if not fits or parts < 2 or parts % 2 or dense.shape[1] % parts:
        raise ValueError(
            f"gwconv {list(grouped.shape)} and gwconv_shift {list(shifted.shape)} must be alike, with an even fraction "
            f"of the input channels of conv {list(dense.shape)}; load a checkpoint of the official layer."
        )
    return parts


def merge_branches(state_dict: Mapping[str, Tensor], lattice: Tensor, groups: int, parts: int) -> Tensor:
    """Merge three official weights into one dense weight [C_out, C_in/groups, k, k] with dilations `lattice`.

    Raises:
        ValueError: a kernel that the dense and a dilated branch both use, with different dilations.
    """
    weight, grouped, shifted = (_take(state_dict, name) for name in ("conv", "gwconv", "gwconv_shift"))
    weight = weight.clone()
    step_out, step_in = weight.shape[0] // (groups * parts), weight.shape[1] // parts
    clash = torch.zeros(weight.shape[:2], dtype=torch.bool)
    for block in range(groups * parts):
        rows = slice(block * step_out, (block + 1) * step_out)
        for offset, branch in ((0, grouped), (parts // 2, shifted)):
            first = (block + offset) % parts * step_in
            columns = slice(first, first + step_in)
            used = (weight[rows, columns] != 0).flatten(2).any(2).cpu()
            clash[rows, columns] = used & (lattice[rows, columns] != 1)  # both of dilation 1: the kernels add
            weight[rows, columns] += branch[rows]
    if clash.any():
        pairs = [tuple(pair) for pair in clash.nonzero()[:_FIRST_FEW].tolist()]
        raise ValueError(
            f"{int(clash.sum())} overlapping kernels, the first at (output, input) {pairs}, have a dense and a dilated "
            "weight (the official group-mask bug), which one dense weight cannot hold; use ThreeBranchPSConv2d."
        )
    return weight


def _take(state_dict: Mapping[str, Tensor], name: str) -> Tensor:
    key = f"{name}.weight"
    if key not in state_dict:
        raise ValueError(f"A three-branch checkpoint needs {key!r}, got {sorted(state_dict)}; strip any prefix.")
    return state_dict[key]
