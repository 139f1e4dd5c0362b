"""Poly-scale convolution: one dense weight whose kernels have different dilations (PSConv, sections 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.layers.three_branch import count_parts, merge_branches

# Channels a group must have before a grouped convolution over blocks beats a dense one over the masked weight.
# Measured on a CPU with AMX, 1 thread, forward + backward, 16 to 256 channels, maps of 20x27 to 80x107, batch 8: below
# these widths either costs about three plain convolutions; above, the grouped one 1.2 (float32), 1.6 to 2.3 (bfloat16).
_GROUP_WIDTH = {torch.bfloat16: 32, torch.float16: 32, torch.float32: 16, torch.float64: 16}


class PSConv2d(nn.Conv2d):
    """A convolution in which the kernel of (output c, input k) has dilation `dilation_lattice()[c, k]`.

    Parameters are exactly a standard convolution's: `weight [C_out, C_in/groups, k, k]`. Each dilation is padded by
    (kernel_size - 1) / 2 times itself, so the output is floor((H - 1) / stride) + 1.

    With t = len(dilations) and d = dilations, "interleaved" is d[(k - c + 1) mod t] (equation 4); "block" uses block
    numbers in the place of channels, t blocks a group (appendix B, the official layout). `axes="input"` is d[k mod t],
    `axes="output"` d[c mod t] (table 5). A depthwise convolution is d[c mod t] (appendix A).

    Differs from the paper: kaiming initialisation (normal, fan out) is applied to the dense weight; the official
    three convolutions need a mask and a gradient hook for that (see `ThreeBranchPSConv2d`).

    Raises:
        ValueError: a size, layout or axes that does not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        dilations: Sequence[int] = (1, 2, 1, 4),
        axes: str = "both",
        layout: str = "block",
    ) -> None:
        dilations = tuple(dilations)
        _check(in_channels, out_channels, kernel_size, groups, dilations, axes, layout)
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=bias
        )
        self.dilations, self.axes, self.layout = dilations, axes, layout
        lattice = self.dilation_lattice()
        self._distinct = tuple(sorted(set(dilations) & set(lattice.flatten().tolist())))
        masks = torch.stack([lattice == dilation for dilation in self._distinct])
        self.register_buffer("_masks", masks, persistent=False)
        self._plans = {dilation: self._plan(dilation) for dilation in self._distinct}
        for dilation, plan in self._plans.items():
            if plan:
                self.register_buffer(f"_blocks_{dilation}", plan.block_index(groups), persistent=False)

    @property
    def _depthwise(self) -> bool:
        return self.groups > 1 and self.groups == self.in_channels == self.out_channels

    def reset_parameters(self) -> None:
        """Kaiming normal over the dense weight, fan out; zero bias."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def dilation_lattice(self) -> Tensor:
        """Return the dilation of every kernel, int [C_out, C_in/groups], on the CPU."""
        period, depth = len(self.dilations), self.in_channels // self.groups
        c = torch.arange(self.out_channels, device="cpu")[:, None]
        k = torch.arange(depth, device="cpu")[None, :]
        if self.layout == "block" and not self._depthwise:
            # An axis that carries no pattern needs no blocks, so its division may be inexact.
            c = c // max(1, self.out_channels // self.groups // period)
            k = k // max(1, depth // period)
        if self._depthwise or self.axes == "output":
            index = c + 0 * k
        elif self.axes == "input":
            index = k + 0 * c
        else:
            index = k - c + 1
        return torch.tensor(self.dilations, dtype=torch.int32, device="cpu")[index % period]

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W]."""
        if x.is_meta:  # sizes and multiply-adds are a standard convolution's
            return super().forward(x)
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        least = _GROUP_WIDTH.get(dtype, 16)
        plans = {dilation: plan for dilation, plan in self._plans.items() if plan and plan.width >= least}
        if self.axes == "output" and len(plans) < len(self._distinct):
            plans = {}
        y, parts, order = None, [], []
        for mask, dilation in zip(self._masks, self._distinct, strict=True):
            if dilation not in plans:
                out = self._convolve(x, self.weight * mask[:, :, None, None], dilation, self.groups)
            else:
                plan = plans[dilation]
                weight = plan.take_weight(self.weight, getattr(self, f"_blocks_{dilation}"), self.groups)
                out = self._convolve(_reorder(x, plan.inputs, plan.input_blocks), weight, dilation, plan.groups)
                if len(plan.outputs) < plan.output_blocks:
                    parts.append(out)
                    order.extend(plan.outputs)
                    continue
                out = _reorder(out, _inverse(plan.outputs), plan.output_blocks)
            y = out if y is None else y.add_(out)
        if parts:
            y = _reorder(torch.cat(parts, dim=1), _inverse(order), len(order))
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def _convolve(self, x: Tensor, weight: Tensor, dilation: int, groups: int) -> Tensor:
        padding = dilation * (self.kernel_size[0] // 2)
        return F.conv2d(x, weight, None, self.stride, padding, dilation, groups)

    def _plan(self, dilation: int) -> _Plan | None:
        """Find the grouped convolution over channel blocks that computes exactly the kernels of one dilation."""
        if self.layout != "block" or self._depthwise:
            return None
        period = len(self.dilations)
        rows = period if self.axes != "input" else 1
        columns = period if self.axes != "output" else 1
        height, width = self.out_channels // self.groups // rows, self.in_channels // self.groups // columns
        table = (self.dilation_lattice()[: rows * height : height, ::width] == dilation).tolist()
        outputs_of: dict[tuple[int, ...], list[int]] = {}
        for row, marks in enumerate(table):
            inputs = tuple(column for column, mark in enumerate(marks) if mark)
            if inputs:
                outputs_of.setdefault(inputs, []).append(row)
        inputs = [column for columns_ in outputs_of for column in columns_]
        sizes = {(len(columns_), len(rows_)) for columns_, rows_ in outputs_of.items()}
        if len(set(inputs)) < len(inputs) or len(sizes) > 1:
            return None  # blocks overlap or differ in size: no single grouped convolution computes them
        outputs = [row for rows_ in outputs_of.values() for row in rows_]
        parts = len(outputs_of)
        return _Plan(
            groups=self.groups * parts,
            inputs=[group * columns + column for group in range(self.groups) for column in inputs],
            outputs=[group * rows + row for group in range(self.groups) for row in outputs],
            input_blocks=self.groups * columns,
            output_blocks=self.groups * rows,
            width=min(len(inputs) * width, len(outputs) * height) // parts,
        )

    @classmethod
    def from_three_branch(cls, state_dict: Mapping[str, Tensor], *, dilation: int = 2, **kwargs) -> PSConv2d:
        """Build the layer from an official checkpoint's `conv`, `gwconv` and `gwconv_shift` (biases are summed).

        Args:
            state_dict: the three weights [C_out, *, k, k] under their official names, without a prefix.
            dilation: the official module's `dilation`; its shifted branch has twice that.
            **kwargs: this class's arguments that the tensors do not tell, such as `stride` and `groups`.

        Raises:
            ValueError: a missing tensor, shapes that do not fit, or a kernel that two branches use with different
                dilations (the official group-mask bug): one dense weight cannot hold it.
        """
        groups = kwargs.get("groups", 1)
        parts = count_parts(state_dict)
        pattern = [1] * parts
        pattern[1 % parts], pattern[(1 + parts // 2) % parts] = dilation, 2 * dilation
        out_channels, depth, kernel_size, _ = state_dict["conv.weight"].shape
        biases = [value for key, value in state_dict.items() if key.split(".")[-1] == "bias"]
        sizes = {"in_channels": depth * groups, "out_channels": out_channels, "kernel_size": kernel_size}
        layer = cls(**{**sizes, "bias": bool(biases), "dilations": pattern, **kwargs})
        if layer.layout != "block" or layer.axes != "both" or len(layer.dilations) != parts:
            raise ValueError(
                f"An official checkpoint of {parts} parts has block layout, both axes and {parts} dilations, got "
                f"{layer.layout!r}, {layer.axes!r} and {layer.dilations}; leave these arguments out."
            )
        with torch.no_grad():
            layer.weight.copy_(merge_branches(state_dict, layer.dilation_lattice(), groups, parts))
            if biases and layer.bias is not None:
                layer.bias.copy_(torch.stack(biases).sum(0))
        return layer


class _Plan(NamedTuple):
    """One dilation as one grouped convolution: which blocks go in and come out, in which order."""

    groups: int
    inputs: list[int]
    outputs: list[int]
    input_blocks: int
    output_blocks: int
    width: int  # channels a group, the smaller of in and out

    def block_index(self, groups: int) -> Tensor:
        """Return which [row, column] blocks of a layer with `groups` its convolution takes, flat, in order."""
        columns = self.input_blocks // groups
        outputs = torch.tensor(self.outputs, device="cpu").view(self.groups, -1, 1)
        inputs = torch.tensor(self.inputs, device="cpu").view(self.groups, 1, -1)
        return (outputs * columns + inputs % columns).flatten()

    def take_weight(self, weight: Tensor, index: Tensor, groups: int) -> Tensor:
        """Pick this dilation's kernels, [outputs, inputs a group, k, k], from the dense weight."""
        columns = self.input_blocks // groups
        blocks = weight.unflatten(1, (columns, -1)).unflatten(0, (self.output_blocks, -1)).transpose(1, 2)
        picked = blocks.flatten(0, 1).index_select(0, index)  # [blocks, height, width, k, k]
        into = len(self.inputs) // self.groups
        return picked.unflatten(0, (-1, into)).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def _reorder(x: Tensor, order: list[int], blocks: int) -> Tensor:
    """Put the channel blocks of x into another order; split and cat keep both memory format and gradient cheap."""
    if order == list(range(blocks)):
        return x
    pieces = x.chunk(blocks, 1)
    return torch.cat([pieces[block] for block in order], 1)


def _inverse(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


def _check(in_channels, out_channels, kernel_size, groups, dilations, axes, layout) -> None:
    if not dilations or any(not isinstance(d, int) or d < 1 for d in dilations):
        raise ValueError(f"dilations must be positive integers, got {dilations}; the paper's are (1, 2, 1, 4).")
    if axes not in ("both", "input", "output"):
        raise ValueError(f"axes must be 'both', 'input' or 'output', got {axes!r}.")
    if layout not in ("block", "interleaved"):
        raise ValueError(f"layout must be 'block' or 'interleaved', got {layout!r}.")
    if not isinstance(kernel_size, int) or kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be one odd integer, got {kernel_size!r}.")
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if groups < 1 or channels < 1 or channels % groups:
            raise ValueError(f"{name} must be a positive multiple of groups = {groups}, got {channels}.")
        needed = {"in_channels": axes != "output", "out_channels": axes != "input"}[name]
        depthwise = groups > 1 and groups == in_channels == out_channels
        if layout == "block" and needed and not depthwise and channels // groups % len(dilations):
            raise ValueError(
                f"Block layout splits {name} / groups = {channels // groups} into {len(dilations)} equal blocks; "
                "use a multiple of it, or layout='interleaved'."
            )
