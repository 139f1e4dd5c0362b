"""The papers' backbones by name, at a preset's size, with a method's layers inside."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from torch import nn

from pipeline import parts
from pipeline.errors import InputError, nearest
from pipeline.models.backbones.method_layers import Scales
from pipeline.options import BACKBONES, Method
from pipeline.preset import ModelSize

__all__ = ["Scales", "blocks_of", "build_backbone", "build_stage", "freeze_stages"]


def family(name: str) -> ModuleType:
    """Return the module that builds a backbone. Raises InputError where its name is unknown."""
    if name not in BACKBONES:
        raise InputError(f"Unknown backbone {name!r}{nearest(name, BACKBONES)}; known are {sorted(BACKBONES)}.")
    return import_module(parts.backbone(name))


def blocks_of(name: str) -> tuple[int, ...]:
    """Return how many blocks each stage of a backbone has at the papers' size."""
    return family(name).BLOCKS[name]


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
    """Build a backbone of the papers' names at a preset's size, with the method's layers inside.

    Args:
        name: a value of `Experiment.backbone`.
        size: width and depth relative to the papers'.
        norm: a key of `NORMS`.
        method: what replaces 3x3 convolutions, and fusion modules.
        scales: learnt global scale of every decomposed block, (1, 1) where it is None.
        stages: how many stages are built, all where it is None.
        strides: strides of the stages, the papers' where it is None.
        dilations: dilations of the stages' 3x3 convolutions.

    Returns:
        A module that maps images [N, 3, H, W] to its stages' features under "0", "1", ..., with `out_channels` (a
        list), `stages` and `first_modules(stages)`.

    Raises:
        InputError: an unknown name, more stages than there are, or channels that a method's layer cannot divide.
    """
    available = len(blocks_of(name))
    stages = available if stages is None else stages
    if stages > available:
        raise InputError(f"{name} has {available} stages, and {stages} are asked for; it is no backbone of detectors.")
    if strides is None:
        strides = (1, *(2,) * (available - 1))
    return family(name).build(name, size, norm, method, scales, stages, strides, dilations)


def build_stage(
    name: str, size: ModelSize, norm: str, method: Method, scales: Scales | None, number: int, stride: int
) -> nn.Sequential:
    """Build stage `number` (from 1) of a ResNet by itself: conv5_x in the RoI head of a C4 detector.

    Raises:
        InputError: the backbone is no ResNet of four stages.
    """
    builder = getattr(family(name), "build_stage", None)
    if builder is None or len(blocks_of(name)) < number:
        raise InputError(f"{name} has no stage {number} that a RoI head could own; choose a ResNet, or the FPN neck.")
    return builder(name, size, norm, method, scales, number, stride)


def freeze_stages(body: nn.Module, stages: int) -> None:
    """Freeze the stem and the first `stages` stages (the papers: 1, conv2_x); a negative number freezes nothing.

    Their batch norms stay in evaluation mode from then on, whatever the norm. Layers there that predict scales or
    offsets stay trainable, as they are not pre-trained (POD's conv2 control).
    """
    if stages < 0:
        return
    for module in body.first_modules(stages):
        for name, parameter in module.named_parameters():
            if ".scale_predictor." not in f".{name}" and ".offset_predictor." not in f".{name}":
                parameter.requires_grad_(False)
    body.train(body.training)
