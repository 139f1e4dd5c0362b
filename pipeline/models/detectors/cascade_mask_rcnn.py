"""Cascade Mask R-CNN with FPN: a cascade whose every stage has a mask branch."""

from torch import Tensor

from pipeline.models.backbones.build import Scales
from pipeline.models.contract import Detections, Levels, Shapes
from pipeline.models.detectors.cascade_rcnn import IOUS, CascadeRoIHeads, assemble_cascade, stage_arguments
from pipeline.models.heads.mask_branch import MaskRoIHeads, add_masks, build_mask_branch
from pipeline.models.heads.two_stage import TwoStageDetector
from pipeline.models.necks import build_fpn
from pipeline.spec import Spec


class CascadeMaskRoIHeads(CascadeRoIHeads):
    """A cascade of RoI heads with mask branches.

    In training, each branch learns on the positive RoIs of its own stage. In evaluation, all branches see the last
    boxes and their probabilities are averaged (MMDetection).
    """

    def detect(self, features: Levels, proposals: list[Tensor], image_shapes: Shapes) -> Detections:
        """Return boxes, labels, scores and `mask_probs` [D, 1, 28, 28] of every image."""
        found = super().detect(features, proposals, image_shapes)
        return add_masks([stage.masks for stage in self.stages], features, found)


def build_cascade_mask_rcnn(spec: Spec, classes: int = 80, scales: Scales | None = None) -> TwoStageDetector:
    """Build the Cascade Mask R-CNN of a specification; 77,099,262 trainable parameters at ResNet-50.

    Returns:
        A model under torchvision's detection contract. Its targets need `masks` [n, H, W] in network-input pixels, its
        detections carry `mask_probs` [D, 1, 28, 28], not pasted into the image.
    """
    backbone = build_fpn(spec, scales)
    stages = [
        MaskRoIHeads(
            **stage_arguments(spec, number, backbone.out_channels, classes), masks=build_mask_branch(spec, classes)
        )
        for number in range(len(IOUS))
    ]
    return assemble_cascade(spec, backbone, CascadeMaskRoIHeads(stages))
