"""Map a specification to a network: one explicit dictionary a kind, no registry."""

from __future__ import annotations

from torch import nn

from pipeline.config import Spec
from pipeline.errors import InputError, nearest
from pipeline.models.backbones import Scales
from pipeline.models.classifier import build_resnet_classifier
from pipeline.models.faster_rcnn import build_faster_rcnn

DETECTORS = {"faster_rcnn": build_faster_rcnn}
CLASSIFIERS = {"classifier": build_resnet_classifier}


def build_detector(spec: Spec, classes: int = 80, scales: Scales | None = None) -> nn.Module:
    """Build the detector of a specification, under torchvision's detection contract.

    Args:
        spec: the resolved experiment.
        classes: object categories of the data, without the background.
        scales: learnt global scale (h, w) of every decomposed block, by block name.

    Raises:
        InputError: the experiment is no detector.
    """
    kind = spec.experiment.detector
    if kind not in DETECTORS:
        raise InputError(f"{spec.name} is a {kind}, not a detector{nearest(kind, DETECTORS)}; use build_classifier.")
    return DETECTORS[kind](spec, classes, scales)


def build_classifier(spec: Spec, classes: int = 1000) -> nn.Module:
    """Build the image classifier of a specification. Raises InputError where the experiment is a detector."""
    kind = spec.experiment.detector
    if kind not in CLASSIFIERS:
        raise InputError(f"{spec.name} is a {kind}, not a classifier; use build_detector.")
    return CLASSIFIERS[kind](spec, classes)
