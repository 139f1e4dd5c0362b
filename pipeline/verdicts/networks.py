"""Which networks are equal: in counts and times, whatever they are trained with, and under a preset that cuts them."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from pipeline.options import Experiment, FusionOptions, Method
from pipeline.preset import ModelSize, Preset

LAYERS = ("global_scale", "decomposed", "psconv", "deformable", "fusion")
SAME = {"dynamic_rcnn": "faster_rcnn"}  # differ in their training only


def network_of(detector: str, backbone: str, neck: str, method: Method, stem: str = "standard") -> dict[str, Any]:
    """Return a network as plain values: equal networks are equal dictionaries."""
    plain = Method()
    layers = {
        name: msgspec.to_builtins(getattr(method, name))
        for name in LAYERS
        if getattr(method, name) != getattr(plain, name)
    }
    if method.fusion:
        layers["fusion"]["convs"] = convs_of(method.fusion)
    if layers.keys() & {"global_scale", "decomposed"}:
        layers["scale_stages"] = list(method.scale_stages)
    found = {"detector": SAME.get(detector, detector), "backbone": backbone, "neck": neck, "layers": listed(layers)}
    if detector == "classifier":
        del found["neck"]  # it has none, whatever its file says
    return found | ({"stem": stem} if stem != "standard" else {})


def network(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment's network."""
    return network_of(experiment.detector, experiment.backbone, experiment.neck, experiment.method, experiment.stem) | {
        name: msgspec.to_builtins(part)
        for name, part in (("rpn", experiment.rpn), ("region", experiment.region))
        if part
    }


def convs_of(fusion: FusionOptions) -> list[int]:
    """Return the convolutions of every branch; one number stands for all."""
    return [fusion.convs] * len(fusion.scales) if isinstance(fusion.convs, int) else list(fusion.convs)


CONV4 = (6, 23)  # blocks in conv4_x of networks of 50 and of 101 layers, the only stage in which these differ


def cut(name: str, size: ModelSize) -> str:
    """Return the name of a backbone or an init as a preset builds it: 101 layers are 50 where their depth is cut."""
    few, many = map(size.blocks, CONV4)
    return name.replace("101", "50") if few == many else name


def trained(experiment: Experiment, size: ModelSize) -> dict[str, Any]:
    """Return what decides a training under a preset but for its seed, as plain values."""
    found = msgspec.to_builtins(experiment)
    found = {name: value for name, value in found.items() if name not in ("notes", "like", "tests")}
    found |= {name: cut(found[name], size) for name in ("backbone", "init")}
    fusion = experiment.method.fusion
    if fusion:
        widths = [
            (channels // size.fusion_ratio(channels, ratio), groups)
            for stage, ratio in zip((3, 4, 5), fusion.ratios, strict=True)
            for position, groups in zip(fusion.positions, fusion.norm_groups, strict=True)
            for channels in [size.planes(stage) * (4 if position == 3 else 1)]
        ]
        built = {"convs": convs_of(fusion), "widths": [(width, math.gcd(width, groups)) for width, groups in widths]}
        given = {key: value for key, value in found["method"]["fusion"].items() if key not in ("ratios", "norm_groups")}
        found["method"]["fusion"] = given | built
    return found


def one_here(preset: Preset, one: Experiment, other: Experiment) -> str:
    """Say why two experiments are one network under a preset although the paper has two; empty where they are two."""
    names = (one.backbone, other.backbone)
    if names[0] != names[1] and cut(names[0], preset.model) == cut(names[1], preset.model):
        return f"{names[0]} and {names[1]} are one network under preset {preset.name}, which cuts their depth."
    if trained(one, preset.model) == trained(other, preset.model):
        return f"Both rows are one network and one recipe under preset {preset.name}; noise alone tells them apart."
    return ""


def listed(value: Any) -> Any:
    """Return a value with tuples as lists, as JSON has them."""
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, list | tuple) else value
