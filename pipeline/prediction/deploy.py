"""A trained experiment as an ONNX file, checked against ONNX Runtime."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import paths
from pipeline.errors import InputError
from pipeline.files import write_json
from pipeline.models import build_classifier, build_detector
from pipeline.models.export import export_onnx, named_outputs, run_onnx
from pipeline.models.measure import FULL_INPUT
from pipeline.spec import Spec
from pipeline.training.checkpoint import load_trained, load_weights
from pipeline.training.inputs import read_scales
from pipeline.training.precision import set_threads

TOLERANCE = 1e-4  # of the largest output
NETWORK = "whole network: normalised images to logits"
FEATURES = (
    "backbone and neck: normalised images to feature levels; heads, proposals and suppression are not in this file"
)


def export_experiment(spec: Spec) -> None:
    """Write `paths.onnx` and `paths.export` of an experiment, from its trained weights.

    A classifier is exported whole, a detector as its backbone and neck.

    Raises:
        InputError: an experiment that was not trained, or a network whose sampling positions depend on its input.
    """
    preset = spec.preset
    set_threads(preset)
    torch.manual_seed(spec.seed)
    network, weights, size = load_network(spec)
    example = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(preset.seed))
    contents = NETWORK if spec.experiment.detector == "classifier" else FEATURES
    notes = {"experiment": spec.name, "preset": preset.name, "contents": contents, "weights": weights}
    path = paths.onnx(preset.name, spec.name)
    try:
        found = export_onnx(network, path, example, notes)
    except ValueError as error:
        raise InputError(f"{spec.name} cannot be exported: {error}") from error
    difference, largest = compare(network, path, example, max(1, preset.threads))
    if difference > TOLERANCE * max(1.0, largest):
        raise RuntimeError(f"{path}: ONNX Runtime differs from PyTorch by {difference:.2e} of {largest:.2e}.")
    summary = {**notes, **found, "largest_output": round(largest, 6), "largest_difference": float(f"{difference:.1e}")}
    write_json(paths.export(preset.name, spec.name), summary)


def load_network(spec: Spec) -> tuple[nn.Module, str, tuple[int, int]]:
    """Return the network to export, the source of its weights, and its input's (h, w)."""
    preset = spec.preset
    if spec.experiment.detector == "classifier":
        return *load_classifier(spec), (preset.training.pretrain_size,) * 2
    file = paths.weights(preset.name, spec.name)
    if not file.is_file():
        raise untrained(spec, "train", file)
    tensors, metadata = load_weights(file)
    network = build_detector(spec, scales=read_scales(metadata)).backbone
    own = {name: value for name, value in tensors.items() if name.startswith("backbone.")}
    load_trained(network, {name.removeprefix("backbone."): value for name, value in own.items()}, file)
    size = tuple(max(32, round(side * preset.factor / 32) * 32) for side in FULL_INPUT)
    return network.eval(), "trained", size


def load_classifier(spec: Spec) -> tuple[nn.Module, str]:
    """Return a classifier and the source of its weights: a whole classifier's file, or a detectors' init."""
    file, init = paths.weights(spec.preset.name, spec.name), paths.init(spec.preset.name, spec.name)
    if file.is_file():
        tensors, _ = load_weights(file)
        classes = next((tensors[name].numel() for name in ("fc.bias", "classifier.bias") if name in tensors), 1000)
        network = build_classifier(spec, classes)
        load_trained(network, tensors, file)
        return network.eval(), "trained"
    if not init.is_file():
        raise untrained(spec, "pretrain", init)
    network = build_classifier(spec)
    tensors = {name.removeprefix("backbone."): value for name, value in load_weights(init)[0].items()}
    network.load_state_dict(tensors, strict=False)
    return network.eval(), "trained, but for the last linear layer, which this init does not hold"


def untrained(spec: Spec, stage: str, file: Path) -> InputError:
    """Return the error for an experiment without weights."""
    return InputError(
        f"{spec.name} was not trained under preset {spec.preset.name} ({file} does not exist), so there are no weights "
        f"to export; run `python -m pipeline.stages.{stage} {spec.name} --preset {spec.preset.name}` first."
    )


@torch.inference_mode()
def compare(network: nn.Module, path: Any, example: Tensor, threads: int = 1) -> tuple[float, float]:
    """Return the largest absolute difference between ONNX Runtime and PyTorch, and the largest absolute output."""
    ours, theirs = named_outputs(network(example)), run_onnx(path, example, threads)
    differences = [(ours[name] - value).abs().max().item() for name, value in theirs.items()]
    return max(differences), max(value.abs().max().item() for value in ours.values())
