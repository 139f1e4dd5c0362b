"""What detectors with region proposals share: proposals on a pyramid, RoI pooling, the arguments of RoI heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import Conv2dNormActivation

from pipeline.models.batching import Batching
from pipeline.models.contract import Detections, Levels, Losses, Targets
from pipeline.models.heads.detector import Detector
from pipeline.models.heads.reweighting import set_reweighting
from pipeline.models.heads.roi_heads import PositiveLosses, RoIHeads
from pipeline.models.heads.roi_pool import MultiLevelRoIAlign
from pipeline.models.heads.rpn import RegionProposalNetwork
from pipeline.spec import Spec

if TYPE_CHECKING:
    from pipeline.models.necks import FPNBackbone

ASPECT_RATIOS = (0.5, 1.0, 2.0)
FPN_ANCHORS = (32, 64, 128, 256, 512)  # one size per level, on the papers' 800-pixel scale
FPN_STRIDES = (4, 8, 16, 32)  # of the levels that RoIs are pooled from
FPN_RESOLUTION = 7
# Families whose MMDetection configurations keep smooth L1 in the RPN where its Faster R-CNN has changed to L1
# (v2, configs/_base_/models/cascade_rcnn_r50_fpn.py and configs/grid_rcnn/grid_rcnn_r50_fpn_gn-head_2x_coco.py).
SMOOTH_RPN = ("cascade_rcnn", "cascade_mask_rcnn", "grid_rcnn")
# Times a preset's limits for a pyramid, where a single level has all anchors: MMDetection's C4 configuration keeps
# 12,000 candidates before suppression and 2,000 after it in training, 6,000 and 1,000 in a test; R-FCN 6,000 before it.
CANDIDATES, KEPT = 6, {"training": 2, "testing": 1}


class TwoStageDetector(Detector):
    """Backbone, RPN and RoI heads: torchvision's GeneralizedRCNN, whose check of boxes waits for a GPU."""

    def __init__(
        self, backbone: nn.Module, rpn: RegionProposalNetwork, roi_heads: nn.Module, transform: Batching
    ) -> None:
        super().__init__(backbone, transform)
        self.rpn, self.roi_heads = rpn, roi_heads

    def run(self, features: Levels, images: ImageList, targets: Targets | None) -> tuple[Detections, Losses]:
        """Return detections (evaluation) and the named losses of RoI heads and RPN (training)."""
        proposals, of_rpn = self.rpn(images, features, targets)
        detections, losses = self.roi_heads(features, proposals, images.image_sizes, targets)
        return detections, losses | of_rpn

    @property
    def positives(self) -> PositiveLosses | None:
        """Losses of the last training step's positive RoIs."""
        return self.roi_heads.positives

    def dense_parts(self, images: Tensor, proposals: int) -> None:
        """Run the parts whose multiply-adds count, on images [N, 3, H, W]: everything but RoIAlign and NMS."""
        features = self.backbone(images)
        self.rpn.head(list(features.values()))
        self.roi_heads.dense_parts(images, self.backbone.out_channels, proposals)


class FloatRPNHead(RPNHead):
    """torchvision's RPN head with fp32 outputs, because losses and box decoding need the precision.

    Args:
        channels: of every level.
        anchors: of every position.
        hidden: channels of the 3x3 convolution; None means `channels`.
    """

    def __init__(self, channels: int, anchors: int, hidden: int | None = None) -> None:
        super().__init__(hidden or channels, anchors)
        if hidden is not None and hidden != channels:
            self.conv = nn.Sequential(Conv2dNormActivation(channels, hidden, kernel_size=3, norm_layer=None))
            nn.init.normal_(self.conv[0][0].weight, std=0.01)
            nn.init.zeros_(self.conv[0][0].bias)

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Map levels [N, C, H, W] to objectness [N, A, H, W] and deltas [N, 4A, H, W]."""
        objectness, deltas = super().forward(x)
        return [level.float() for level in objectness], [level.float() for level in deltas]


def build_rpn(spec: Spec, channels: int, anchors: Sequence[Sequence[int]]) -> RegionProposalNetwork:
    """Build the RPN of an experiment.

    Args:
        spec: the resolved experiment.
        channels: of every feature level.
        anchors: the sides of each level's anchors, on the papers' 800-pixel scale.
    """
    size = spec.preset.model
    before = {"training": size.rpn_pre_nms_train, "testing": size.rpn_pre_nms_test}
    after = {"training": size.rpn_post_nms_train, "testing": size.rpn_post_nms_test}
    if len(anchors) == 1:
        before = {name: CANDIDATES * most for name, most in before.items()}
        after = {name: KEPT[name] * most for name, most in after.items()}
    rpn = RegionProposalNetwork(
        anchor_generator(spec, anchors),
        FloatRPNHead(channels, len(ASPECT_RATIOS) * len(anchors[0])),
        fg_iou_thresh=spec.recipe.rpn_positive_iou,
        bg_iou_thresh=spec.recipe.rpn_negative_iou,
        batch_size_per_image=size.rpn_batch,
        positive_fraction=0.5,
        pre_nms_top_n=before,
        post_nms_top_n=after,
        nms_thresh=0.7,
    )
    rpn.box_loss = "smooth_l1" if spec.experiment.detector in SMOOTH_RPN else spec.recipe.rpn_box_loss
    return rpn


class FloatAnchorGenerator(AnchorGenerator):
    """torchvision's anchors in fp32; under autocast, the features' bf16 would round them to 4 pixels."""

    def set_cell_anchors(self, dtype: torch.dtype, device: torch.device) -> None:
        """Make the anchors around the origin; `dtype` is not read."""
        super().set_cell_anchors(torch.float32, device)


def anchor_generator(spec: Spec, anchors: Sequence[Sequence[int]]) -> AnchorGenerator:
    """Return anchors of three aspect ratios from each level's sides on the papers' 800-pixel scale."""
    sides = tuple(tuple(side * spec.preset.factor for side in level) for level in anchors)
    return FloatAnchorGenerator(sides, (ASPECT_RATIOS,) * len(sides))


def build_fpn_rpn(spec: Spec, channels: int) -> RegionProposalNetwork:
    """Build the RPN on a pyramid's five levels, with one anchor side for each."""
    return build_rpn(spec, channels, [(side,) for side in FPN_ANCHORS])


def fpn_pool(spec: Spec, resolution: int = FPN_RESOLUTION) -> MultiLevelRoIAlign:
    """Return RoIAlign on a pyramid's four finest levels, with the papers' rule for choosing the level."""
    return MultiLevelRoIAlign(FPN_STRIDES, resolution, spec.roi_samples, 224 * spec.preset.factor)


def roi_arguments(spec: Spec, iou: float = 0.5) -> dict[str, Any]:
    """Return the arguments that RoI heads of all families share: sampling, thresholds, limits."""
    size = spec.preset.model
    return {
        "fg_iou_thresh": iou,
        "bg_iou_thresh": iou,
        "batch_size_per_image": size.roi_batch if spec.experiment.neck == "fpn" else size.c4_roi_batch,
        "positive_fraction": 0.25,
        "bbox_reg_weights": None,
        "score_thresh": size.score_threshold,
        "nms_thresh": 0.5,
        "detections_per_img": size.detections,
    }


def set_losses(roi_heads: RoIHeads, spec: Spec) -> None:
    """Set the recipe's box loss on RoI heads, and let them reweight small objects' loss if the method does."""
    roi_heads.box_loss = spec.recipe.box_loss
    set_reweighting(roi_heads, spec)


def assemble_fpn(spec: Spec, backbone: FPNBackbone, roi_heads: RoIHeads) -> TwoStageDetector:
    """Return the detector around RoI heads on a pyramid, with the recipe's losses and an RPN."""
    set_losses(roi_heads, spec)
    rpn = build_fpn_rpn(spec, backbone.out_channels)
    return TwoStageDetector(backbone, rpn, roi_heads, Batching(spec.preset.model.pad_divisor))


def fpn_parts(spec: Spec, channels: int, classes: int, class_agnostic: bool = False) -> dict[str, nn.Module]:
    """Return the network of RoI heads on a pyramid of `channels` channels: RoIAlign, two linear layers, predictor."""
    width = spec.preset.model.head_channels
    return {
        "box_roi_pool": fpn_pool(spec),
        "box_head": TwoMLPHead(channels * FPN_RESOLUTION**2, width),
        "box_predictor": BoxPredictor(width, classes, class_agnostic),
    }


class BoxPredictor(nn.Module):
    """Class scores with a background slot, and box deltas for every foreground class, or one set for all.

    Differs from torchvision: no deltas for the background, as the papers' printed parameter counts require.
    """

    def __init__(self, channels: int, classes: int, class_agnostic: bool = False) -> None:
        super().__init__()
        self.cls_score = nn.Linear(channels, classes + 1)
        self.bbox_pred = nn.Linear(channels, 4 if class_agnostic else classes * 4)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map RoI features [R, C] to logits [R, K + 1] and deltas [R, K or 1, 4] in fp32, even under autocast."""
        logits, deltas = self.cls_score(x), self.bbox_pred(x)
        return logits.float(), deltas.float().unflatten(1, (-1, 4))
