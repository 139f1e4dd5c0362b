"""Map a specification to a network: the file of its detector family, or the classifier."""

from __future__ import annotations

from importlib import import_module

from torch import nn

from pipeline import parts
from pipeline.errors import InputError
from pipeline.models.backbones.method_layers import Scales
from pipeline.spec import Spec

NECKS = {"faster_rcnn": ("fpn", "c4"), "d_rfcn_rcn": ("none",), "d_rfcn_rpn": ("none",)}  # other families: fpn


def build_detector(spec: Spec, classes: int = 80, scales: Scales | None = None) -> nn.Module:
    """Build the detector of a specification, under torchvision's detection contract.

    Args:
        spec: the resolved experiment.
        classes: object categories of the data, without the background.
        scales: learnt global scale (h, w) of every decomposed block, by block name.

    Raises:
        InputError: the experiment is no detector, or its detector does not support an option of its file.
    """
    kind = spec.experiment.detector
    if kind == "classifier":
        raise InputError(f"{spec.name} is a {kind}, not a detector; use build_classifier.")
    check_combination(spec)
    family = import_module(parts.detector(kind))
    return getattr(family, f"build_{family.__name__.rpartition('.')[2]}")(spec, classes, scales)


def check_combination(spec: Spec) -> None:
    """Raise InputError where the detector would ignore an option of its experiment."""
    experiment, method = spec.experiment, spec.experiment.method
    kind, necks = experiment.detector, NECKS.get(experiment.detector, ("fpn",))
    if experiment.neck not in necks:
        raise InputError(
            f"{spec.name}: a {kind} has neck {' or '.join(necks)}, not {experiment.neck!r}; write `neck: {necks[0]}`."
        )
    if method.small_loss_reweight and kind == "d_rfcn_rpn":
        raise InputError(
            f"{spec.name}: small_loss_reweight acts on detections' losses, and a {kind} has proposals; leave it out."
        )
    if method.snip is not None and not experiment.pyramid:
        raise InputError(f"{spec.name}: snip reads the ranges of a pyramid, and there is none; add `pyramid`.")
    if method.psconv is not None and method.psconv.neck and experiment.neck != "fpn":
        raise InputError(
            f"{spec.name}: psconv.neck replaces convolutions of an FPN, and the neck is {experiment.neck!r}; leave it "
            "out."
        )
    for name, kinds in {"region": "d_rfcn_rcn", "rpn": "d_rfcn_rpn"}.items():
        if getattr(experiment, name) is not None and kind != kinds:
            raise InputError(f"{spec.name}: `{name}` has options of a {kinds}, and this is a {kind}; leave it out.")


def build_classifier(spec: Spec, classes: int = 1000) -> nn.Module:
    """Build the image classifier of a specification; raise InputError where the experiment is a detector."""
    kind = spec.experiment.detector
    if kind != "classifier":
        raise InputError(f"{spec.name} is a {kind}, not a classifier; use build_detector.")
    return parts.load("classifier").build_resnet_classifier(spec, classes)
