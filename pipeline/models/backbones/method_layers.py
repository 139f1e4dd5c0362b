"""The papers' layers inside a backbone: those that replace its 3x3 convolutions and those that follow convolutions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn

from pipeline.errors import InputError
from pipeline.options import FusionOptions, Method
from pipeline.parts import load
from pipeline.preset import ModelSize

if TYPE_CHECKING:
    from pipeline.layers.decomposition import SubConv

Scales = Mapping[str, tuple[float, float]]  # learnt global scale (h, w) of a block, by its name ("layer2.0")
FUSION_STAGES = (2, 3, 4)  # conv3_x to conv5_x (MSFM, section 3.2)


def insert_layers(stage: nn.Sequential, number: int, size: ModelSize, method: Method, scales: Scales | None) -> None:
    """Put the method's layers into a stage of bottlenecks; `number` counts from 1 (conv2_x).

    PSConv replaces the 3x3 convolutions of all four stages (PSConv, section 4.1), and GSL and FD replace those of
    conv3_x to conv5_x (POD, section 3.1). MSFM is inserted into conv3_x to conv5_x (MSFM, section 3.2).

    Raises:
        InputError: a layer cannot divide the channels at this preset's width.
    """
    for name, block in stage.named_children():
        place = f"layer{number}.{name}"
        try:
            block.conv2 = replace_convolution(block.conv2, number, place, method, scales)
            if method.fusion is not None and number in FUSION_STAGES:
                insert_fusion(block, number, size, method.fusion)
        except ValueError as error:
            raise InputError(f"{place} at the preset's model.width of {size.width:g}: {error}") from error


def replace_convolution(
    old: nn.Conv2d, number: int, place: str, method: Method, scales: Scales | None = None
) -> nn.Module:
    """Return the method's layer for a 3x3 convolution of stage `number` (from 1), or `old` where it has none."""
    channels, stride, groups = (old.in_channels, old.out_channels), old.stride[0], old.groups
    if method.psconv is not None:
        options = method.psconv
        if options.learnable_mask:
            return load("learnable_mask").LearnableMaskPSConv2d(
                *channels, stride=stride, groups=groups, dilations=options.dilations
            )
        return load("psconv").PSConv2d(
            *channels,
            stride=stride,
            groups=groups,
            dilations=options.dilations,
            axes=options.axes,
            layout=options.layout,
        )
    if method.deformable is not None and number + 1 in method.deformable.stages:
        return load("deformable").DeformableConv2d(
            *channels,
            stride=stride,
            dilation=old.dilation[0],
            groups=groups,
            offset_groups=method.deformable.offset_groups,
        )
    if number + 1 in method.scale_stages:
        if method.global_scale:
            return load("global_scale").GlobalScaleConv2d(*channels, stride=stride, groups=groups)
        if method.decomposed:
            found = sub_convs(place, old.out_channels, scales)
            return load("decomposed").DecomposedConv2d(old.in_channels, found, stride=stride, groups=groups)
    return old


def sub_convs(block: str, out_channels: int, scales: Scales | None) -> list[SubConv]:
    """Return the integer convolutions for a block's learnt scale, or for scale 1 where none is known."""
    if scales and block not in scales:
        raise InputError(f"No learnt scale is known of {block}, only of {sorted(scales)}; learn scales for its stage.")
    scale_h, scale_w = scales[block] if scales else (1.0, 1.0)
    return load("decomposition").decompose(scale_h, scale_w, out_channels)


def insert_fusion(block: nn.Module, stage: int, size: ModelSize, options: FusionOptions) -> None:
    """Put fusion modules into a bottleneck: after conv1's or conv2's ReLU, or after norm3, before the addition."""
    for position, norm_groups in zip(options.positions, options.norm_groups, strict=True):
        channels = block.get_submodule(f"conv{position}").out_channels
        ratio = size.fusion_ratio(channels, options.ratios[stage - 2])
        fusion = load("fusion").MultiScaleFusion(
            channels,
            ratio,
            options.scales,
            options.convs,
            norm_groups=math.gcd(norm_groups, channels // ratio),
            fusion=options.fusion,
        )
        block.add_module(f"fusion{position}", fusion)


def initialise(body: nn.Module) -> None:
    """Initialise plain convolutions as torchvision's ResNet does (He); the papers' layers initialise themselves."""
    for module in body.modules():
        if type(module) is nn.Conv2d and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
