"""Mask R-CNN with FPN: Faster R-CNN whose RoI heads have a mask branch beside the box branch."""

from pipeline.models.backbones.build import Scales
from pipeline.models.heads.mask_branch import MaskRoIHeads, build_mask_branch
from pipeline.models.heads.two_stage import TwoStageDetector, assemble_fpn, fpn_parts, roi_arguments
from pipeline.models.necks import build_fpn
from pipeline.spec import Spec


def build_mask_rcnn(spec: Spec, classes: int = 80, scales: Scales | None = None) -> TwoStageDetector:
    """Build the Mask R-CNN of a specification; 44,170,992 trainable parameters at ResNet-50.

    Returns:
        A model under torchvision's detection contract. Its targets need `masks` [n, H, W] in network-input pixels, its
        detections carry `mask_probs` [D, 1, 28, 28], not pasted into the image. DST reads the box branch's losses.
    """
    backbone = build_fpn(spec, scales)
    parts = fpn_parts(spec, backbone.out_channels, classes)
    roi_heads = MaskRoIHeads(**parts, **roi_arguments(spec), masks=build_mask_branch(spec, classes))
    return assemble_fpn(spec, backbone, roi_heads)
