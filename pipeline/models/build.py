"""Map a specification to a network: one explicit dictionary a kind, no registry."""

from __future__ import annotations

from torch import nn

from pipeline.config import Spec
from pipeline.errors import InputError, nearest
from pipeline.models.backbones import Scales
from pipeline.models.cascade_mask_rcnn import build_cascade_mask_rcnn
from pipeline.models.cascade_rcnn import build_cascade_rcnn
from pipeline.models.classifier import build_resnet_classifier
from pipeline.models.dynamic_rcnn import build_dynamic_rcnn
from pipeline.models.faster_rcnn import build_faster_rcnn
from pipeline.models.fcos import build_fcos
from pipeline.models.grid_rcnn import build_grid_rcnn
from pipeline.models.mask_rcnn import build_mask_rcnn
from pipeline.models.proposal_network import build_proposal_network
from pipeline.models.reppoints import build_reppoints
from pipeline.models.retinanet import build_retinanet
from pipeline.models.rfcn import build_rfcn

DETECTORS = {
    "faster_rcnn": build_faster_rcnn,
    "mask_rcnn": build_mask_rcnn,
    "cascade_rcnn": build_cascade_rcnn,
    "cascade_mask_rcnn": build_cascade_mask_rcnn,
    "grid_rcnn": build_grid_rcnn,
    "dynamic_rcnn": build_dynamic_rcnn,
    "retinanet": build_retinanet,
    "fcos": build_fcos,
    "reppoints": build_reppoints,
    "d_rfcn_rcn": build_rfcn,
    "d_rfcn_rpn": build_proposal_network,
}
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
