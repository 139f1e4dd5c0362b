"""Scale normalisation inside a detector: valid ranges decide what its losses see (SNIP, section 6.1)."""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.models.heads.dense import DenseDetector
from pipeline.training import scale_ranges


def wire_snip(model: nn.Module, ignore_iou: float) -> None:
    """Let valid ranges decide which anchors, points and RoIs take part in the losses.

    A network that only proposes has no RoI heads, one that only classifies no RPN, and a dense head is neither.
    """

    def label_anchors(anchors: Tensor, target: dict[str, Tensor]) -> Tensor:
        matcher = model.rpn.proposal_matcher
        return scale_ranges.label_anchors(
            anchors,
            target["boxes"],
            target["valid_proposal"].bool(),
            positive_iou=matcher.high_threshold,
            negative_iou=matcher.low_threshold,
            ignore_iou=ignore_iou,
        )

    def filter_rois(rois: Tensor, labels: Tensor, matched: Tensor, target: dict[str, Tensor]) -> Tensor:
        return scale_ranges.roi_takes_part(rois, labels, matched, target, target["head_range"].unbind())

    if getattr(model, "rpn", None) is not None:
        model.rpn.label_anchors = label_anchors
    if getattr(model, "roi_heads", None) is not None:
        model.roi_heads.filter_rois = filter_rois
    if isinstance(model, DenseDetector):
        model.head.ignore_iou = ignore_iou
