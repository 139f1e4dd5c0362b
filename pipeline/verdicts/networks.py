"""Which networks are equal: what decides a network's counts and times, whatever data and recipe it is trained with."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.options import Experiment, Method

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
    fusion = layers.get("fusion")
    if fusion and isinstance(fusion["convs"], int):  # one number stands for that of every branch
        fusion["convs"] = [fusion["convs"]] * len(fusion["scales"])
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


def listed(value: Any) -> Any:
    """Return a value with tuples as lists, as JSON has them."""
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, list | tuple) else value
