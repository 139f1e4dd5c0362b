"""Faster R-CNN on torchvision's parts: with FPN, and with a C4 backbone whose last stage is the RoI head.

Differs from torchvision's factory functions where the papers' tables do: class-specific box regression without a slot
for the background (Faster R-CNN R50-FPN has the printed 41,527,712 trainable parameters), and losses that remember
how much of them each object size carried.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from pipeline.config import Spec
from pipeline.models.backbones import Scales, build_backbone, build_stage, freeze_stages
from pipeline.models.batching import Batching
from pipeline.models.roi_heads import RoIHeads
from pipeline.models.rpn import RegionProposalNetwork

ASPECT_RATIOS = (0.5, 1.0, 2.0)
FPN_ANCHORS = (32, 64, 128, 256, 512)  # one size a level, on the papers' 800-pixel scale
C4_ANCHORS = (32, 64, 128, 256, 512)  # all on the one level


class FPNBackbone(nn.Module):
    """Backbone body with a feature pyramid on its four stages and a max-pooled fifth level."""

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(body.out_channels, channels, extra_blocks=LastLevelMaxPool())
        self.out_channels = channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images [N, 3, H, W] to levels of stride 4 to 64 with `out_channels` channels."""
        return self.fpn(OrderedDict(self.body(x)))


class C4Backbone(nn.Module):
    """Backbone body up to conv4_x, as one feature map."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.out_channels = body.out_channels[-1]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images [N, 3, H, W] to one level."""
        return {"0": self.body(x)["2"]}


class C5Head(nn.Module):
    """RoI head of a C4 detector: conv5_x on every RoI, then the mean over positions."""

    def __init__(self, layer4: nn.Sequential) -> None:
        super().__init__()
        self.layer4 = layer4

    def forward(self, x: Tensor) -> Tensor:
        """Map RoI features [R, C, 14, 14] to [R, 2C]."""
        return self.layer4(x).mean(dim=(2, 3))


class BoxPredictor(nn.Module):
    """Class scores with a background slot, and box deltas for every foreground class."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(channels, classes + 1)
        self.bbox_pred = nn.Linear(channels, classes * 4)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map RoI features [R, C] to logits [R, K + 1] and deltas [R, K, 4], both in fp32 whatever the autocast."""
        logits, deltas = self.cls_score(x), self.bbox_pred(x)
        return logits.float(), deltas.float().unflatten(1, (-1, 4))


class FloatRPNHead(RPNHead):
    """torchvision's RPN head; its outputs leave in fp32, because losses and box decoding need the digits."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Map levels [N, C, H, W] to objectness [N, A, H, W] and deltas [N, 4A, H, W]."""
        objectness, deltas = super().forward(x)
        return [level.float() for level in objectness], [level.float() for level in deltas]


def build_faster_rcnn(spec: Spec, classes: int = 80, scales: Scales | None = None) -> GeneralizedRCNN:
    """Build the Faster R-CNN of a specification.

    Args:
        spec: the resolved experiment.
        classes: object categories, without the background.
        scales: learnt global scale of every decomposed block, (1, 1) where it is None.

    Returns:
        A model under torchvision's detection contract: `model(images, targets)` gives named losses in training, a list
        of dicts `boxes`, `labels`, `scores` in evaluation; images are [3, H, W] in 0-1, boxes half-open xyxy in the
        pixels of the image given.
    """
    size, factor = spec.preset.model, spec.preset.factor
    norm = spec.norm
    method = spec.experiment.method
    if spec.experiment.neck == "fpn":
        body = build_backbone(spec.experiment.backbone, size, norm, method, scales, stages=4)
        backbone: nn.Module = FPNBackbone(body, size.fpn_channels)
        anchor_sizes = tuple((anchor * factor,) for anchor in FPN_ANCHORS)
        levels, resolution = ["0", "1", "2", "3"], 7
        box_head: nn.Module = TwoMLPHead(size.fpn_channels * resolution**2, size.head_channels)
        head_channels = size.head_channels
    else:
        name, last_stride = spec.experiment.backbone, 2 if size.c4_stride == 16 else 1
        body = build_backbone(name, size, norm, method, scales, stages=3, strides=(1, 2, last_stride))
        backbone = C4Backbone(body)
        anchor_sizes = (tuple(anchor * factor for anchor in C4_ANCHORS),)
        levels, resolution = ["0"], 14 if size.c4_stride == 16 else 7
        box_head = C5Head(build_stage(name, size, norm, method, scales, number=4, stride=last_stride))
        head_channels = 2 * body.out_channels[-1]

    rpn = RegionProposalNetwork(
        AnchorGenerator(anchor_sizes, (ASPECT_RATIOS,) * len(anchor_sizes)),
        FloatRPNHead(backbone.out_channels, len(ASPECT_RATIOS) * len(anchor_sizes[0])),
        fg_iou_thresh=spec.recipe.rpn_positive_iou,
        bg_iou_thresh=spec.recipe.rpn_negative_iou,
        batch_size_per_image=size.rpn_batch,
        positive_fraction=0.5,
        pre_nms_top_n={"training": size.rpn_pre_nms_train, "testing": size.rpn_pre_nms_test},
        post_nms_top_n={"training": size.rpn_post_nms_train, "testing": size.rpn_post_nms_test},
        nms_thresh=0.7,
    )
    roi_heads = RoIHeads(
        MultiScaleRoIAlign(levels, resolution, size.roi_samples, canonical_scale=max(1, round(224 * factor))),
        box_head,
        BoxPredictor(head_channels, classes),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=size.roi_batch if spec.experiment.neck == "fpn" else size.c4_roi_batch,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=size.score_threshold,
        nms_thresh=0.5,
        detections_per_img=size.detections,
    )
    roi_heads.box_loss = spec.recipe.box_loss
    roi_heads.small_loss_weight = method.small_loss_weight or 1.0
    roi_heads.small_area = (32 * factor) ** 2
    roi_heads.large_area = (96 * factor) ** 2
    model = GeneralizedRCNN(backbone, rpn, roi_heads, Batching(size.pad_divisor))
    freeze_stages(body, spec.frozen_stages)
    return model
