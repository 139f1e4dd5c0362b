"""Cascade R-CNN with FPN: three RoI heads, each trained at a higher IoU on the boxes that the one before refined."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from pipeline.models.backbones.build import Scales
from pipeline.models.batching import Batching
from pipeline.models.contract import Detections, Levels, Losses, Shapes, Targets
from pipeline.models.heads.roi_heads import PositiveLosses, RoIFilter, RoIHeads, SampledRoIs
from pipeline.models.heads.suppression import PADDING
from pipeline.models.heads.two_stage import (
    TwoStageDetector,
    build_fpn_rpn,
    fpn_parts,
    roi_arguments,
    set_losses,
)
from pipeline.models.necks import FPNBackbone, build_fpn
from pipeline.spec import Spec

IOUS = (0.5, 0.6, 0.7)  # least IoU of a RoI with an object to be positive, for each stage
DEVIATIONS = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))  # of deltas x, y, w, h
LOSS_WEIGHTS = (1.0, 0.5, 0.25)


class CascadeRoIHeads(nn.Module):
    """A sequence of RoI heads with the interface of one.

    Args:
        stages: class-agnostic RoI heads in their order, as many as `LOSS_WEIGHTS`.

    Between stages, the sampled RoIs are refined without gradients. The objects' own boxes among them are dropped,
    because every stage adds them again (MMDetection).
    """

    def __init__(self, stages: Sequence[RoIHeads]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    @property
    def positives(self) -> PositiveLosses | None:
        """Losses of the last training step's positive RoIs in the first stage.

        That stage sees the RPN's proposals at IoU 0.5, like the head of Faster R-CNN, for which DST's threshold on the
        small objects' share was chosen. Later stages have other RoIs, fewer of them on small objects, in other units.
        """
        return self.stages[0].positives

    @property
    def filter_rois(self) -> RoIFilter | None:
        """The rule that selects the RoIs of every stage's losses (SNIP); None keeps all."""
        return self.stages[0].filter_rois

    @filter_rois.setter
    def filter_rois(self, rule: RoIFilter | None) -> None:
        for stage in self.stages:
            stage.filter_rois = rule

    def forward(
        self, features: Levels, proposals: list[Tensor], image_shapes: Shapes, targets: Targets | None = None
    ) -> tuple[Detections, Losses]:
        """Return detections (evaluation) and weighted losses named by stage, as `loss_classifier_0` (training)."""
        if not self.training:
            return self.detect(features, proposals, image_shapes), {}
        named = {}
        for number, (stage, weight) in enumerate(zip(self.stages, LOSS_WEIGHTS, strict=True)):
            sampled = stage.sample(proposals, targets)
            losses, deltas = stage.sampled_losses(features, sampled, image_shapes, targets)
            named.update({f"{name}_{number}": loss * weight for name, loss in losses.items()})
            refined = refine(stage, sampled.boxes, deltas, image_shapes)
            proposals = [
                boxes.where(kept[:, None], PADDING) for boxes, kept in zip(refined, not_objects(sampled), strict=True)
            ]
        return [], named

    def detect(self, features: Levels, proposals: list[Tensor], image_shapes: Shapes) -> Detections:
        """Return the last stage's boxes [D, 4], with labels [D] and scores [D] from all stages' mean probabilities.

        Differs from MMDetection, which averages logits, and from the paper, where all stages score the last boxes.
        """
        scores = 0
        for stage in self.stages:
            boxes = proposals
            logits, deltas = stage.predict(features, boxes, image_shapes)
            scores = scores + logits.softmax(dim=-1) / len(self.stages)
            proposals = refine(stage, boxes, deltas, image_shapes)
        return stage.select_detections(scores, deltas, boxes, image_shapes)

    def dense_parts(self, images: Tensor, channels: int, proposals: int) -> None:
        """Run the parts whose multiply-adds count, every stage on every proposal."""
        for stage in self.stages:
            stage.dense_parts(images, channels, proposals)


def refine(stage: RoIHeads, boxes: list[Tensor], deltas: Tensor, image_shapes: Shapes) -> list[Tensor]:
    """Return RoIs [R_i, 4] of every image moved by class-agnostic deltas and clipped to the image, without gradients.

    Args:
        stage: the RoI head that predicted the deltas.
        boxes: RoIs [R_i, 4] of every image.
        deltas: [R, 1, 4], of all images in order.
        image_shapes: (h, w) of every image.
    """
    refined = stage.box_coder.decode_single(deltas[:, 0].detach(), torch.cat(boxes))
    by_image = refined.split([len(part) for part in boxes])
    return [clip_boxes_to_image(part, shape) for part, shape in zip(by_image, image_shapes, strict=True)]


def not_objects(sampled: SampledRoIs) -> list[Tensor]:
    """Return a mask [R] for every image: which sampled RoIs are not an object's own box."""
    return [
        (labels <= 0) | (deltas != 0).any(dim=1)
        for labels, deltas in zip(sampled.labels, sampled.regression_targets, strict=True)
    ]


def stage_arguments(spec: Spec, number: int, channels: int, classes: int) -> dict[str, Any]:
    """Return the arguments of the RoI head of stage `number` (0 to 2), on RoI features of `channels` channels."""
    return {
        **roi_arguments(spec, IOUS[number]),
        "bbox_reg_weights": tuple(1 / deviation for deviation in DEVIATIONS[number]),
        **fpn_parts(spec, channels, classes, class_agnostic=True),
    }


def assemble_cascade(spec: Spec, backbone: FPNBackbone, roi_heads: CascadeRoIHeads) -> TwoStageDetector:
    """Return the detector around a cascade's stages, whose box loss is smooth L1 with beta 1 in every recipe.

    MMDetection's cascades still use smooth L1, while its Faster R-CNN has changed to L1.
    """
    for stage in roi_heads.stages:
        set_losses(stage, spec)
        stage.box_loss = "smooth_l1"
    rpn = build_fpn_rpn(spec, backbone.out_channels)
    return TwoStageDetector(backbone, rpn, roi_heads, Batching(spec.preset.model.pad_divisor))


def build_cascade_rcnn(spec: Spec, classes: int = 80, scales: Scales | None = None) -> TwoStageDetector:
    """Build the Cascade R-CNN of a specification; 69,169,422 trainable parameters at ResNet-50.

    Returns:
        A model under torchvision's detection contract, with the losses of every stage.
    """
    backbone = build_fpn(spec, scales)
    channels = backbone.out_channels
    stages = [RoIHeads(**stage_arguments(spec, number, channels, classes)) for number in range(len(IOUS))]
    return assemble_cascade(spec, backbone, CascadeRoIHeads(stages))
