"""From a GSL network to fast-deployment inits: average scales over images, decompose them, transfer weights."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import blocks, paths
from pipeline.data.detection_set import DetectionSet
from pipeline.data.manifest import load_split
from pipeline.errors import InputError, reading
from pipeline.files import read_json, write_json
from pipeline.layers import DecomposedConv2d, GlobalScaleConv2d
from pipeline.models import build_detector
from pipeline.models.backbones.build import Scales
from pipeline.spec import Spec
from pipeline.training.checkpoint import load_init, load_trained, load_weights, save_weights
from pipeline.training.precision import autocast, choose_precision, pick_device, set_threads
from pipeline.training.visiting import visits

NEAR_ZERO = 0.05  # a mean scale of at most this decomposes into one tap of its axis (POD, section 3.2)
AXES = {"h": "height", "w": "width"}


@torch.inference_mode()
def learn_scales(spec: Spec) -> None:
    """Average the predicted scales of a trained GSL network over random training images (POD, section 3.2).

    Write the mean and standard deviation (h, w) of every layer over training and over validation images to
    `paths.scales`, and how far both agree (POD, table 3 and section 4.4): the average over blocks, and each block's
    own. Only the means over training images are decomposed.
    """
    preset = spec.preset
    if not spec.experiment.method.global_scale:
        raise InputError(f"{spec.name} has no global scale learner; name a *_gsl experiment.")
    set_threads(preset)
    learnt = blocks.summary([scales_of(one) for one in spec.in_blocks()])
    learnt["near_zero"] = near_zero(learnt["layers"])
    write_json(paths.scales(preset.name, spec.name), learnt)


def scales_of(spec: Spec) -> dict[str, Any]:
    """Return what `learn_scales` writes of one block."""
    preset, device = spec.preset, pick_device()
    limits = {"train": spec.data.limit_train, "val": spec.data.limit_val}
    splits = {name: DetectionSet(load_split(spec.manifest, name), limit) for name, limit in limits.items()}
    model = build_detector(spec, splits["train"].classes)
    file = paths.weights(preset.name, spec.name)
    load_trained(model, load_weights(file, spec.block)[0], file)
    model = model.to(device, memory_format=torch.channels_last).eval()
    precision = choose_precision(preset, device)
    found = {}
    for name, data in splits.items():
        seen: dict[str, list[Tensor]] = {block: [] for block in scale_layers(model)}
        hooks = [layer.register_forward_pre_hook(recorder(seen[block])) for block, layer in scale_layers(model).items()]
        for visit in visits(spec, data, preset.training.scale_images, f"{spec.run} scales, {name}", device):
            with autocast(precision, device):
                model(visit.images)
        for hook in hooks:
            hook.remove()
        layers = {block: summarise(torch.cat(values)) for block, values in seen.items()}
        found[name] = {"images": min(preset.training.scale_images, len(data)), "layers": layers}
    shifts = [abs(layer[f"mean_{axis}"] - 1) for layer in found["train"]["layers"].values() for axis in AXES]
    dead = near_zero(found["train"]["layers"])
    if dead:
        print(f"{spec.run}: WARNING: scales near 0, which see one tap of three: {', '.join(dead)}.", file=sys.stderr)
    return {
        "experiment": spec.name,
        "images": found["train"]["images"],
        "classes": splits["train"].classes,
        "largest_shift": round(max(shifts), 6),
        "near_zero": dead,
        "stability": stability(found["train"]["layers"], found["val"]["layers"]),
        "layers": found["train"]["layers"],
        "val": found["val"],
    }


def near_zero(layers: dict[str, dict[str, float]]) -> list[str]:
    """Return the blocks and axes whose mean scale is `NEAR_ZERO` or less ("layer3.1 height")."""
    return [f"{name} {AXES[axis]}" for name in layers for axis in AXES if layers[name][f"mean_{axis}"] <= NEAR_ZERO]


def stability(train: dict[str, dict[str, float]], val: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Return how stable scales are over images and between splits (POD prints a spread of less than 0.03).

    Returns:
        The largest standard deviation over images of either split, and the largest difference between the splits'
        means, over all layers and axes, as shares of the training images' mean; None where every mean is 0.
    """
    cells = [(train[name], val[name], axis) for name in train for axis in AXES if train[name][f"mean_{axis}"]]
    shares = {
        "largest_spread_train": [ours[f"std_{axis}"] / ours[f"mean_{axis}"] for ours, _, axis in cells],
        "largest_spread_val": [other[f"std_{axis}"] / ours[f"mean_{axis}"] for ours, other, axis in cells],
        "largest_difference": [
            abs(ours[f"mean_{axis}"] - other[f"mean_{axis}"]) / ours[f"mean_{axis}"] for ours, other, axis in cells
        ],
    }
    return {name: round(max(values), 6) if values else None for name, values in shares.items()}


def scale_layers(model: nn.Module) -> dict[str, GlobalScaleConv2d]:
    """Return the GSL layers of a detector by the name of their block ("layer2.0")."""
    return {block_name(n): m for n, m in model.named_modules() if isinstance(m, GlobalScaleConv2d)}


def block_name(module: str) -> str:
    """Return the block of a 3x3 convolution: `backbone.body.layer2.0.conv2` is in `layer2.0`."""
    stage, block, _ = module.split(".")[-3:]
    return f"{stage}.{block}"


def recorder(values: list[Tensor]) -> Any:
    """Return a forward pre-hook that keeps the scales [N, 2] that a GSL layer predicts for its input."""

    def record(layer: GlobalScaleConv2d, inputs: tuple[Tensor, ...]) -> None:
        values.append(layer.predict_scales(inputs[0]).float().cpu())

    return record


def summarise(scales: Tensor) -> dict[str, float]:
    """Return the mean and standard deviation of scales [N, 2] (h, w) over images."""
    mean, deviation = scales.double().mean(dim=0), scales.double().std(dim=0, correction=0)
    pairs = {"mean_h": mean[0], "mean_w": mean[1], "std_h": deviation[0], "std_w": deviation[1]}
    return {name: round(float(value), 6) for name, value in pairs.items()}


def decompose_init(spec: Spec) -> None:
    """Write the two inits of fast-deployment networks (POD, section 3.3).

    `<name>_fd` is the pre-trained backbone with its 3x3 weights cut into the sub-convolutions. `<name>_fd_wt` is the
    whole GSL detector with its weights transferred. Both have the learnt scales in their header.
    """
    import msgspec

    preset = spec.preset
    file = paths.scales(preset.name, spec.name)
    learnt = read_json(file)
    method = msgspec.structs.replace(spec.experiment.method, global_scale=False, decomposed=True)
    experiment = msgspec.structs.replace(spec.experiment, method=method)
    target_spec = msgspec.structs.replace(spec, experiment=experiment)
    inits: dict[str, list[dict[str, Tensor]]] = {"fd": [], "fd_wt": []}
    headers = []
    for one in spec.in_blocks():
        with reading(file, f"run `dvc repro --force learn_scales@{spec.name}`"):
            own = blocks.unlisted(learnt)[one.block - 1]
            scales: Scales = {n: (float(layer["mean_h"]), float(layer["mean_w"])) for n, layer in own["layers"].items()}
            classes = int(own["classes"])
        headers.append({"scales": json.dumps(scales)})
        trained, _ = load_weights(paths.weights(preset.name, spec.name), one.block)
        pretrained, _ = load_weights(paths.init(preset.name, spec.experiment.init), one.block)
        for suffix, source in (("fd", pretrained), ("fd_wt", trained)):
            model = build_detector(target_spec.of_block(one.block), classes, scales)
            load_init(model, source)
            transfer(model, source)
            state = model.state_dict()
            if suffix == "fd":
                state = {name: value for name, value in state.items() if is_pretrained(name, source)}
            inits[suffix].append(state)
    for suffix, states in inits.items():
        file = paths.init(preset.name, f"{spec.name}_{suffix}")
        save_weights(file, blocks.joined(states), blocks.joined(headers))


def transfer(model: nn.Module, source: dict[str, Tensor]) -> None:
    """Cut the 3x3 weights of `source` into the decomposed convolutions of `model`, in the centre form."""
    for name, layer in model.named_modules():
        if isinstance(layer, DecomposedConv2d):
            layer.transfer_(source[source_name(name, source)])


def source_name(module: str, source: dict[str, Tensor]) -> str:
    """Return the name of a convolution's weight in a detector's or a backbone's weights."""
    own = f"{module}.weight"
    return own if own in source else f"backbone.body.{own.split('box_head.')[-1]}"


def is_pretrained(name: str, source: dict[str, Tensor]) -> bool:
    """Return whether a tensor of the decomposed detector comes from the pre-trained backbone."""
    if ".convs." in name:
        return True
    moved = name.replace("roi_heads.box_head.layer4.", "backbone.body.layer4.")
    return name in source or moved in source
