"""PSConv as ordinary convolutions with static dilations, for deployment: no masks, a plain convolution's cost."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.layers.psconv import PSConv2d


class StaticPSConv2d(nn.Module):
    """The same function as a PSConv2d with frozen weights: one convolution per dilation, with joined outputs.

    The rows of the lattice that read the same inputs at a dilation form one group of a grouped convolution, so t blocks
    of pattern {1, 2, 1, 4} cost 1/2 + 1/4 + 1/4 of a dense convolution (PSConv, appendix B). Rows that do not divide
    into equal groups (channels that t does not divide) leave a dense convolution with zeros for that dilation.

    Args:
        layer: the layer to take the weights of; it is not changed.
    """

    def __init__(self, layer: PSConv2d) -> None:
        super().__init__()
        weight, lattice, rows = layer.weight.detach(), layer.dilation_lattice(), layer.out_channels
        masks = {dilation: lattice == dilation for dilation in sorted(set(lattice.flatten().tolist()))}
        parts = {dilation: _grouped(mask, weight, layer.groups) for dilation, mask in masks.items()}
        # If every row has one dilation, outputs are joined; else every dilation computes all rows and they add up.
        covered = [part.rows for part in parts.values() if part]
        self.added = len(covered) < len(parts) or sum(map(len, covered)) > rows
        self.convs = nn.ModuleList()
        self.rows: list[list[int]] = []  # output channels that each convolution computes, in its order
        for index, (dilation, part) in enumerate(parts.items()):
            if part is None or (self.added and len(part.rows) < rows):
                part = _dense(masks[dilation], weight, layer.groups)
                parts[dilation] = part
            padding = dilation * (layer.kernel_size[0] // 2)
            conv = nn.Conv2d(
                len(part.inputs), len(part.rows), layer.kernel_size, layer.stride, padding, dilation, part.groups,
                bias=False, device="meta",
            )  # fmt: skip
            conv.weight = nn.Parameter(part.weight.clone(), requires_grad=False)
            self.convs.append(conv)
            self.rows.append(part.rows)
            _keep(self, f"inputs_{index}", part.inputs, layer.in_channels, weight.device)
            if self.added:
                _keep(self, f"order_{index}", _inverse(part.rows), rows, weight.device)
        if not self.added:
            _keep(self, "order", _inverse([row for own in self.rows for row in own]), rows, weight.device)
        if layer.bias is not None:
            self.affine_(torch.ones_like(layer.bias), layer.bias)

    @torch.no_grad()
    def affine_(self, scale: Tensor, shift: Tensor) -> None:
        """Fold a norm into the layer, which then computes scale * y + shift ([C_out] each) instead of y."""
        for index, (conv, rows) in enumerate(zip(self.convs, self.rows, strict=True)):
            conv.weight.mul_(scale[rows][:, None, None, None])
            if conv.bias is not None:
                conv.bias.mul_(scale[rows]).add_(shift[rows])
            elif index == 0 or not self.added:  # a sum takes its shift once
                conv.bias = nn.Parameter(shift[rows].clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W]."""
        outputs = [conv(_take(x, getattr(self, f"inputs_{index}"))) for index, conv in enumerate(self.convs)]
        if self.added:
            outputs = [_take(y, getattr(self, f"order_{index}")) for index, y in enumerate(outputs)]
            return sum(outputs[1:], outputs[0])
        return _take(torch.cat(outputs, dim=1), self.order)


class _Part(NamedTuple):
    """One dilation's kernels as a grouped convolution: its input channels, output rows, groups and weight."""

    inputs: list[int]
    rows: list[int]
    groups: int
    weight: Tensor


def _grouped(mask: Tensor, weight: Tensor, groups: int) -> _Part | None:
    """Return the masked kernels without their zeros; None where the rows do not fall into equal groups."""
    depth, height = weight.shape[1], weight.shape[0] // groups
    classes: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for row, marks in enumerate(mask.tolist()):
        columns = tuple(column for column, mark in enumerate(marks) if mark)
        if columns:
            classes.setdefault((row // height, columns), []).append(row)
    if len({(len(columns), len(rows)) for (_, columns), rows in classes.items()}) > 1:
        return None
    inputs = [group * depth + column for group, columns in classes for column in columns]
    rows = [row for members in classes.values() for row in members]
    kernels = torch.cat([weight[members][:, list(columns)] for (_, columns), members in classes.items()])
    return _Part(inputs, rows, len(classes), kernels)


def _dense(mask: Tensor, weight: Tensor, groups: int) -> _Part:
    inputs, rows = list(range(groups * weight.shape[1])), list(range(weight.shape[0]))
    return _Part(inputs, rows, groups, weight * mask.to(weight.device)[:, :, None, None])


def _keep(module: nn.Module, name: str, order: list[int], channels: int, device: torch.device) -> None:
    """Register a channel order as a buffer, None where it changes nothing."""
    same = order == list(range(channels))
    module.register_buffer(name, None if same else torch.tensor(order, device=device), persistent=False)


def _take(x: Tensor, order: Tensor | None) -> Tensor:
    return x if order is None else x.index_select(1, order)


def _inverse(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)
