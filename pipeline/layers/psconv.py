"""Poly-scale convolution: one dense weight whose kernels have different dilations (PSConv, sections 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipeline.layers.grouped_dilated import conv2d
from pipeline.layers.kaiming import KaimingConv2d, check_channels, check_kernel_size
from pipeline.layers.native.convolution import NativeConv
from pipeline.layers.psconv_cpu import CpuGroupedConv
from pipeline.layers.psconv_cuda import CudaConv
from pipeline.layers.psconv_folded import FoldedConv, foldable
from pipeline.layers.psconv_grouped import grouped_conv2d, masked_conv2d
from pipeline.layers.psconv_lattice import Lattice, make_plan
from pipeline.layers.three_branch import count_parts, merge_branches
from pipeline.layers.tracing import is_traced

# Least channels per group with which grouped convolutions beat dense ones of the masked weight. Measured on a CPU with
# AMX, 1 thread, forward and backward, 14 to 56 pixels: dense ones cost 3 to 4.4 plain convolutions at any width.
# Grouped ones cost 1.7 at width 16, 2.6 at 8 and 5 at 4 in float32, and 3.2 at 24 and 3.1 to 4.3 at 16 in bfloat16.
_GROUP_WIDTH = {torch.bfloat16: 24, torch.float16: 24, torch.float32: 8, torch.float64: 8}


class PSConv2d(KaimingConv2d):
    """A convolution in which the kernel of (output c, input k) has dilation `dilation_lattice()[c, k]`.

    Parameters are exactly a standard convolution's: `weight [C_out, C_in/groups, k, k]`. The padding is
    (kernel_size - 1) / 2 times the dilation, so the output height is floor((H - 1) / stride) + 1.

    With t = len(dilations) and d = dilations, the layout "interleaved" is d[(k - c + 1) mod t] (section 3.2); "block"
    uses block numbers instead of channels, with t blocks per group (appendix B, the official layout). `axes="input"` is
    d[k mod t], `axes="output"` is d[c mod t] (table 5). A depthwise convolution has d[c mod t] (appendix A).

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
        _check(in_channels, out_channels, kernel_size, stride, groups, dilations, axes, layout)
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=bias
        )
        self.dilations, self.axes, self.layout = dilations, axes, layout
        self._lattice = Lattice(in_channels, out_channels, groups, dilations, axes, layout)
        self._distinct = self._lattice.distinct()
        self._plan = make_plan(self._lattice)
        self._on_cpu = CpuGroupedConv(self._plan, stride, kernel_size) if self._plan else None
        self._native = NativeConv(self._lattice, self._plan, stride, kernel_size) if self._plan else None
        self._on_cuda = CudaConv(self._lattice, self._plan, stride) if self._plan else None
        self._folded = FoldedConv(self._on_cpu, stride, kernel_size) if foldable(self._plan) else None
        masks = self._lattice.masks() if self._is_thin(torch.bfloat16) else None
        self.register_buffer("_masks", masks, persistent=False)

    def _is_thin(self, dtype: torch.dtype) -> bool:
        """Tell whether dense convolutions of the masked weight are faster on the CPU, or the only possibility."""
        if self._plan is None:
            return True
        return not self._lattice.depthwise and self._plan.width < _GROUP_WIDTH.get(dtype, 24)

    def without_kernel(self) -> PSConv2d:
        """Compute this layer without the C++ kernel from now on, and return it."""
        self._native = None
        return self

    def has_kernel(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Tell whether PSConv's C++ kernel computes this layer (`python -m pipeline.layers.native` builds it)."""
        return self._native is not None and device.type == "cpu" and not is_traced() and self._native.ready(dtype)

    def folded(self, device: torch.device, dtype: torch.dtype) -> FoldedConv | None:
        """Return this convolution with channel orders that its neighbours take over, where there is one."""
        usable = type(self) is PSConv2d and device.type == "cpu" and self.bias is None and not is_traced()
        usable = usable and not self.has_kernel(device, dtype)
        return self._folded if usable and not self._is_thin(dtype) else None

    def dilation_lattice(self) -> Tensor:
        """Return the dilation of every kernel, int [C_out, C_in/groups], on the CPU."""
        return self._lattice.table()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W] or [C_in, H, W].

        Raises:
            ValueError: x of another shape.
        """
        if x.dim() not in (3, 4) or x.shape[-3] != self.in_channels:
            raise ValueError(f"x must be [N, {self.in_channels}, H, W], got {list(x.shape)}.")
        if x.is_meta:  # sizes and multiply-adds are a standard convolution's
            return super().forward(x)
        if x.dim() == 3:
            return self.forward(x[None])[0]
        weight, device = self.weight, x.device.type
        if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
            dtype = torch.get_autocast_dtype(device)
            x, weight = x.to(dtype), weight.to(dtype)
        y = self._convolve(x, weight)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        stride = self.stride[0]
        if len(self._distinct) == 1:
            dilation = self._distinct[0]
            return conv2d(x, weight, None, stride, dilation * (self.kernel_size[0] // 2), dilation, self.groups)
        if self.has_kernel(x.device, x.dtype):
            return self._native(x, weight, self.weight)
        if self._is_thin(x.dtype) and (self._plan is None or x.device.type == "cpu"):
            return masked_conv2d(x, weight, self._masks, self._distinct, stride, self.groups)
        if is_traced() or x.device.type not in ("cpu", "cuda"):
            return grouped_conv2d(x, weight, self._plan, stride)
        return self._on_cpu(x, weight, self.weight) if x.device.type == "cpu" else self._on_cuda(x, weight)

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


def _check(in_channels, out_channels, kernel_size, stride, groups, dilations, axes, layout) -> None:
    if not dilations or any(not isinstance(d, int) or d < 1 for d in dilations):
        raise ValueError(f"dilations must be positive integers, got {dilations}; the paper's are (1, 2, 1, 4).")
    if axes not in ("both", "input", "output"):
        raise ValueError(f"axes must be 'both', 'input' or 'output', got {axes!r}.")
    if layout not in ("block", "interleaved"):
        raise ValueError(f"layout must be 'block' or 'interleaved', got {layout!r}.")
    check_kernel_size(kernel_size)
    if not isinstance(stride, int) or stride < 1:
        raise ValueError(f"stride must be one positive integer, got {stride!r}.")
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"groups must be one positive integer, got {groups!r}.")
    check_channels(in_channels, out_channels, groups)
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        needed = {"in_channels": axes != "output", "out_channels": axes != "input"}[name]
        depthwise = groups > 1 and groups == in_channels == out_channels
        if layout == "block" and needed and not depthwise and channels // groups % len(dilations):
            raise ValueError(
                f"Block layout splits {name} / groups = {channels // groups} into {len(dilations)} equal blocks; "
                "use a multiple of it, or layout='interleaved'."
            )
