"""Map a specification to a network: one explicit dictionary for each kind, no registry."""

from __future__ import annotations

from torch import nn

from pipeline.config import Spec
from pipeline.errors import InputError, nearest
from pipeline.models.backbones.build import Scales
from pipeline.models.classifier import build_resnet_classifier
from pipeline.models.detectors.cascade_mask_rcnn import build_cascade_mask_rcnn
from pipeline.models.detectors.cascade_rcnn import build_cascade_rcnn
from pipeline.models.detectors.dynamic_rcnn import build_dynamic_rcnn
from pipeline.models.detectors.faster_rcnn import build_faster_rcnn
from pipeline.models.detectors.fcos import build_fcos
from pipeline.models.detectors.grid_rcnn import build_grid_rcnn
from pipeline.models.detectors.mask_rcnn import build_mask_rcnn
from pipeline.models.detectors.proposal_network import build_proposal_network
from pipeline.models.detectors.reppoints import build_reppoints
from pipeline.models.detectors.retinanet import build_retinanet
from pipeline.models.detectors.rfcn import build_rfcn

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
    if kind not in DETECTORS:
        raise InputError(f"{spec.name} is a {kind}, not a detector{nearest(kind, DETECTORS)}; use build_classifier.")
    check_combination(spec)
    return DETECTORS[kind](spec, classes, scales)


def check_combination(spec: Spec) -> None:
    """Raise InputError where the detector would ignore an option of its experiment."""
    experiment, method = spec.experiment, spec.experiment.method
    kind, necks = experiment.detector, NECKS.get(experiment.detector, ("fpn",))
    if experiment.neck not in necks:
        raise InputError(
            f"{spec.name}: a {kind} has neck {' or '.join(necks)}, not {experiment.neck!r}; write `neck: {necks[0]}`."
        )
    if method.small_loss_weight is not None and kind == "d_rfcn_rpn":
        raise InputError(
            f"{spec.name}: small_loss_weight acts on detections' losses, and a {kind} has proposals; leave it out."
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
    if kind not in CLASSIFIERS:
        raise InputError(f"{spec.name} is a {kind}, not a classifier; use build_detector.")
    return CLASSIFIERS[kind](spec, classes)
