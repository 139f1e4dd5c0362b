"""The papers' backbones by name, at a preset's size, with a method's layers inside."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pipeline.errors import InputError, nearest
from pipeline.models.backbones.method_layers import (
    Scales,
    initialise,
    insert_fusion,
    insert_layers,
    replace_convolution,
)
from pipeline.models.backbones.norms import NORMS, FrozenBatchNorm2d, FrozenStatisticsBatchNorm2d
from pipeline.models.backbones.resnet import EXPANSION, FusionBottleneck, ResNet, SEBottleneck, Shape, make_stage
from pipeline.options import Method
from pipeline.preset import ModelSize

__all__ = [
    "BLOCKS",
    "EXPANSION",
    "NORMS",
    "FrozenBatchNorm2d",
    "FrozenStatisticsBatchNorm2d",
    "FusionBottleneck",
    "ResNet",
    "Scales",
    "build_backbone",
    "build_resnet",
    "build_stage",
    "freeze_stages",
    "insert_fusion",
    "insert_layers",
    "resnet_shape",
]

STAGES = (64, 128, 256, 512)
RESNETS = {
    "resnet50": Shape(STAGES, (3, 4, 6, 3)),
    "resnet101": Shape(STAGES, (3, 4, 23, 3)),
    "resnext50_32x4d": Shape(STAGES, (3, 4, 6, 3), 32, 4),
    "resnext101_32x4d": Shape(STAGES, (3, 4, 23, 3), 32, 4),
    "resnext101_32x8d": Shape(STAGES, (3, 4, 23, 3), 32, 8),
    "se_resnet50": Shape(STAGES, (3, 4, 6, 3), block=SEBottleneck),
    "se_resnet101": Shape(STAGES, (3, 4, 23, 3), block=SEBottleneck),
    "resnext29_8x64d": Shape(STAGES[:3], (3, 3, 3), 8, 64, small_images=True),
    "resnext29_16x64d": Shape(STAGES[:3], (3, 3, 3), 16, 64, small_images=True),
}
DPNS = {  # channels of the stem, width and groups of the first 3x3 convolution, blocks, growth
    "dpn92": (64, 96, 32, (3, 4, 20, 3), (16, 32, 24, 128)),
    "dpn98": (96, 160, 40, (3, 6, 20, 3), (16, 32, 32, 128)),
}
BLOCKS = {name: shape.blocks for name, shape in RESNETS.items()} | {name: row[3] for name, row in DPNS.items()}
PERIOD = 4  # least channels per group of a narrow ResNeXt: one period of PSConv's pattern


def build_backbone(
    name: str,
    size: ModelSize,
    norm: str,
    method: Method,
    scales: Scales | None = None,
    stages: int | None = None,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] = (1, 1, 1, 1),
) -> nn.Module:
    """Build one of the papers' backbones at a preset's size, with the method's layers inside.

    Args:
        name: a key of `BLOCKS`.
        size: width and depth relative to the papers'.
        norm: a key of `NORMS`.
        method: which layers replace 3x3 convolutions, and which fusion modules are added.
        scales: learnt global scale of every decomposed block; None means (1, 1).
        stages: number of stages to build; None means all.
        strides: strides of the stages; None means the papers'.
        dilations: dilations of the stages' 3x3 convolutions.

    Returns:
        A module that maps images [N, 3, H, W] to its stages' features under "0", "1", ..., with `out_channels` (a
        list), `stages` and `first_modules(stages)`.

    Raises:
        InputError: an unknown name, more stages than there are, or channels that a method's layer cannot divide.
    """
    if name not in BLOCKS:
        raise InputError(f"Unknown backbone {name!r}{nearest(name, BLOCKS)}; known are {sorted(BLOCKS)}.")
    available = len(BLOCKS[name])
    stages = available if stages is None else stages
    if stages > available:
        raise InputError(f"{name} has {available} stages, and {stages} are asked for; it is no backbone of detectors.")
    if strides is None:
        strides = (1, *(2,) * (available - 1))
    if name in DPNS:
        return build_dpn(name, size, norm, method, stages, strides, dilations)
    return build_resnet(name, size, norm, method, scales, stages, strides, dilations)


def build_resnet(
    name: str,
    size: ModelSize,
    norm: str,
    method: Method,
    scales: Scales | None = None,
    stages: int = 4,
    strides: Sequence[int] = (1, 2, 2, 2),
    dilations: Sequence[int] = (1, 1, 1, 1),
) -> ResNet:
    """Build a ResNet, ResNeXt or SE-ResNet; arguments as `build_backbone`."""
    body = ResNet(resnet_shape(name, size), NORMS[norm], stages, strides, dilations)
    for index in range(stages):
        insert_layers(body.get_submodule(f"layer{index + 1}"), index + 1, size, method, scales)
    initialise(body)
    return body


def build_stage(
    name: str, size: ModelSize, norm: str, method: Method, scales: Scales | None, number: int, stride: int
) -> nn.Sequential:
    """Build stage `number` (from 1) of a ResNet by itself: conv5_x in the RoI head of a C4 detector.

    Raises:
        InputError: the backbone is no ResNet of four stages.
    """
    if name not in RESNETS or len(RESNETS[name].blocks) < number:
        raise InputError(f"{name} has no stage {number} that a RoI head could own; choose a ResNet, or the FPN neck.")
    shape = resnet_shape(name, size)
    stage = make_stage(shape, number - 1, shape.planes[number - 2] * EXPANSION, stride, NORMS[norm])
    insert_layers(stage, number, size, method, scales)
    initialise(stage)
    return stage


def resnet_shape(name: str, size: ModelSize) -> Shape:
    """Return a ResNet's shape at a preset's size.

    A narrow ResNeXt first has fewer 3x3 channels per group, in steps of four down to four, and then fewer groups.
    """
    full = RESNETS[name]
    first = max(8, round(64 * size.width))
    shape = full._replace(
        planes=tuple(first * 2**index for index in range(len(full.blocks))),
        blocks=tuple(min(count, size.max_blocks or count) for count in full.blocks),
    )
    if full.groups == 1:
        return shape
    wanted = full.base_width * size.width
    width = min(full.base_width, max(PERIOD, PERIOD * round(wanted / PERIOD)))
    groups = max(1, round(full.groups * wanted / width))
    # torchvision truncates planes * base_width / 64: without the slack, an exact product could lose a channel.
    return shape._replace(groups=groups, base_width=width if first == 64 else width * 64 / first + 1e-6)


def build_dpn(
    name: str,
    size: ModelSize,
    norm: str,
    method: Method,
    stages: int,
    strides: Sequence[int],
    dilations: Sequence[int],
) -> nn.Module:
    """Build a dual path network; PSConv and deformable convolutions can replace its 3x3 convolutions."""
    from pipeline.models.backbones.dpn import DPN, RESIDUAL, DPNShape  # timm takes seconds to import

    if method.global_scale or method.decomposed or method.fusion is not None:
        raise InputError(f"{name} takes no GSL, FD or fusion modules, which POD and MSFM put into ResNets; use one.")
    stem, width, groups, blocks, growth = DPNS[name]
    narrow = max(1, round(groups * size.width))
    shape = DPNShape(
        max(8, round(stem * size.width)),
        max(8, round(RESIDUAL * size.width)),
        narrow * (width // groups),
        narrow,
        tuple(min(count, size.max_blocks or count) for count in blocks),
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


def freeze_stages(body: nn.Module, stages: int) -> None:
    """Freeze the stem and the first `stages` stages (the papers: 1, conv2_x); a negative number freezes nothing.

    Layers there that predict scales or offsets stay trainable, as they are not pre-trained (POD's conv2 control).
    """
    if stages < 0:
        return
    for module in body.first_modules(stages):
        for name, parameter in module.named_parameters():
            if ".scale_predictor." not in f".{name}" and ".offset_predictor." not in f".{name}":
                parameter.requires_grad_(False)
