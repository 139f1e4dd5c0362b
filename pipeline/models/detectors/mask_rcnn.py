"""Mask R-CNN with FPN: Faster R-CNN whose RoI heads have a mask branch beside the box branch."""

from __future__ import annotations

from torchvision.models.detection.faster_rcnn import TwoMLPHead

from pipeline.config import Spec
from pipeline.models.backbones.build import Scales
from pipeline.models.batching import Batching
from pipeline.models.heads.mask_branch import MaskRoIHeads, build_mask_branch
from pipeline.models.heads.two_stage import (
    FPN_RESOLUTION,
    BoxPredictor,
    TwoStageDetector,
    build_fpn_rpn,
    fpn_pool,
    roi_arguments,
    set_losses,
)
from pipeline.models.necks import build_fpn


def build_mask_rcnn(spec: Spec, classes: int = 80, scales: Scales | None = None) -> TwoStageDetector:
    """Build the Mask R-CNN of a specification (ResNet-50: 44,170,992 trainable parameters).

    Args:
        spec: the resolved experiment.
        classes: object categories, without the background.
        scales: learnt global scale of every decomposed block, (1, 1) where it is None.

    Returns:
        A model under torchvision's detection contract. Its targets need `masks` [n, H, W] in network-input pixels. Its
        detections have `mask_probs` [D, 1, 28, 28], not pasted into the image. DST reads the box branch's losses.
    """
    size = spec.preset.model
    backbone = build_fpn(spec, scales)
    roi_heads = MaskRoIHeads(
        fpn_pool(spec),
        TwoMLPHead(backbone.out_channels * FPN_RESOLUTION**2, size.head_channels),
        BoxPredictor(size.head_channels, classes),
        **roi_arguments(spec),
        masks=build_mask_branch(spec, classes),
    )
    set_losses(roi_heads, spec)
    return TwoStageDetector(backbone, build_fpn_rpn(spec, backbone.out_channels), roi_heads, Batching(size.pad_divisor))
