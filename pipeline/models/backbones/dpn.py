"""Dual path networks (Chen et al., 2017), SNIP's backbones, from timm's blocks and with timm's parameter names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from timm.layers import BatchNormAct2d, ConvNormAct
from timm.models.dpn import BnAct, DualPathBlock
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.layers.grouped_dilated import GroupedDilatedConv2d
from pipeline.models.backbones.method_layers import Scales, initialise, replace_convolution
from pipeline.models.backbones.norms import rest_frozen
from pipeline.options import Method
from pipeline.preset import ModelSize

EPSILON = 1e-3  # of every batch norm
RESIDUAL = 256  # channels of the first stage's residual path


class DPNShape(NamedTuple):
    """Sizes of a dual path network of four stages."""

    stem: int  # channels of the first convolution
    residual: int  # channels of the first stage's residual path; every later stage has twice as many
    width: int  # channels of the first stage's 3x3 convolutions
    groups: int
    blocks: tuple[int, ...]
    growth: tuple[int, ...]  # channels that a block of each stage adds to the dense path


class DPN(nn.Module):
    """Dual path network as a backbone: `features` holds the stem, the blocks and the last norm under timm's names.

    Differs from timm's class: it returns every stage's output, and its width, strides and dilations can be chosen.

    Args:
        shape: widths and depths.
        norm: "frozen", "frozen_statistics", "batch" or "sync"; timm's norms carry their activation.
        stages: number of stages to build.
        strides: strides of the stages.
        dilations: dilations of the stages' 3x3 convolutions.
    """

    def __init__(
        self,
        shape: DPNShape,
        norm: str,
        stages: int = 4,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
    ) -> None:
        super().__init__()
        self.stages = stages
        self.fixed_statistics = norm in ("frozen", "frozen_statistics")
        self.features = nn.ModuleDict()
        relu = partial(BatchNormAct2d, eps=EPSILON)
        self.features["conv1_1"] = ConvNormAct(3, shape.stem, kernel_size=7, stride=2, norm_layer=relu)
        self.features["conv1_pool"] = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        channels, self.out_channels = shape.stem, []
        for index in range(stages):
            residual, width = shape.residual * 2**index, shape.width * 2**index
            for number in range(shape.blocks[index]):
                kind = "normal" if number else "down" if index else "proj"
                growth = shape.growth[index]
                block = DualPathBlock(channels, width, width, residual, growth, shape.groups, kind)
                set_steps(block, strides[index] if number == 0 else 1, dilations[index])
                self.features[f"conv{index + 2}_{number + 1}"] = block
                channels = residual + 3 * growth if number == 0 else channels + growth
            self.out_channels.append(channels)
        if stages == len(shape.blocks):
            last = partial(BatchNormAct2d, inplace=False)
            self.features["conv5_bn_ac"] = BnAct(channels, norm_layer=last)
        if norm == "frozen":
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    for parameter in module.parameters():
                        parameter.requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images [N, 3, H, W] to the stages' features (strides 4, 8, 16, 32) under the keys "0" to "3"."""
        features = {}
        for name, module in self.features.items():
            x = module(x)
            if name[4].isdigit() and name[4] != "1":  # conv2_1 and so on: a stage's last block overwrites the others
                features[str(int(name[4]) - 2)] = x
        return features

    def train(self, mode: bool = True) -> DPN:
        """Set the mode, but leave norms with frozen statistics, and those of frozen stages, in evaluation mode."""
        super().train(mode)
        rest_frozen(self)
        if self.fixed_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def first_modules(self, stages: int) -> list[nn.Module]:
        """Return the modules of the stem and of the first `stages` stages, which detectors freeze."""
        return [module for name, module in self.features.items() if int(name[4]) <= stages + 1]


def set_steps(block: DualPathBlock, stride: int, dilation: int) -> None:
    """Give a block another stride and dilation, but keep its kind, on which timm's names depend."""
    if block.c1x1_w_s2 is not None:
        block.c1x1_w_s2.conv.stride = (stride, stride)
    conv = block.c3x3_b.conv
    conv.stride, conv.dilation, conv.padding = (stride, stride), (dilation, dilation), (dilation, dilation)
    if dilation > 1:
        block.c3x3_b.conv = GroupedDilatedConv2d.of(conv)


DPNS = {  # channels of the stem, width and groups of the first 3x3 convolution, blocks, growth
    "dpn92": (64, 96, 32, (3, 4, 20, 3), (16, 32, 24, 128)),
    "dpn98": (96, 160, 40, (3, 6, 20, 3), (16, 32, 32, 128)),
}
BLOCKS = {name: row[3] for name, row in DPNS.items()}


def build(
    name: str,
    size: ModelSize,
    norm: str,
    method: Method,
    scales: Scales | None,
    stages: int,
    strides: Sequence[int],
    dilations: Sequence[int],
) -> nn.Module:
    """Build a dual path network; PSConv and deformable convolutions can replace its 3x3 convolutions.

    Arguments are those of `build_backbone`; no layer of a dual path network reads `scales`.
    """
    if method.global_scale or method.decomposed or method.fusion is not None:
        raise InputError(f"{name} takes no GSL, FD or fusion modules, which POD and MSFM put into ResNets; use one.")
    stem, width, groups, blocks, growth = DPNS[name]
    narrow = max(1, round(groups * size.width))
    shape = DPNShape(
        max(8, round(stem * size.width)),
        max(8, round(RESIDUAL * size.width)),
        narrow * (width // groups),
        narrow,
        tuple(map(size.blocks, blocks)),
        tuple(max(2, round(count * size.width)) for count in growth),
    )
    body = DPN(shape, norm, stages, strides, dilations)
    for key, block in body.features.items():
        if hasattr(block, "c3x3_b"):
            number = int(key[4]) - 1
            try:
                block.c3x3_b.conv = replace_convolution(block.c3x3_b.conv, number, key, method)
            except ValueError as error:
                raise InputError(f"{name}, {key} at the preset's model.width of {size.width:g}: {error}") from error
    initialise(body)
    return body
