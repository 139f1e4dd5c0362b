"""Faster R-CNN on torchvision's parts: with FPN, and with a C4 backbone whose last stage is the RoI head.

Differs from torchvision's factory functions as the papers' tables do: box regression is class-specific and has no slot
for the background (Faster R-CNN R50-FPN has the printed 41,527,712 trainable parameters). The losses also remember how
much each object size contributed.
"""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.models.backbones.build import Scales, build_backbone, build_stage, freeze_stages
from pipeline.models.batching import Batching
from pipeline.models.heads.roi_heads import RoIHeads
from pipeline.models.heads.roi_pool import MultiLevelRoIAlign
from pipeline.models.heads.two_stage import (
    BoxPredictor,
    TwoStageDetector,
    assemble_fpn,
    build_rpn,
    fpn_parts,
    roi_arguments,
    set_losses,
)
from pipeline.models.necks import build_fpn
from pipeline.spec import Spec

C4_ANCHORS = (32, 64, 128, 256, 512)  # all on the only level, on the papers' 800-pixel scale


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


def build_faster_rcnn(spec: Spec, classes: int = 80, scales: Scales | None = None) -> TwoStageDetector:
    """Build the Faster R-CNN of a specification.

    Returns:
        A model under torchvision's detection contract: `model(images, targets)` gives named losses in training, a list
        of dicts `boxes`, `labels`, `scores` in evaluation; images are [3, H, W] in 0-1, boxes half-open xyxy in the
        pixels of the image given.
    """
    if spec.experiment.neck != "fpn":
        return build_c4(spec, classes, scales)
    backbone = build_fpn(spec, scales)
    roi_heads = RoIHeads(**fpn_parts(spec, backbone.out_channels, classes), **roi_arguments(spec))
    return assemble_fpn(spec, backbone, roi_heads)


def build_c4(spec: Spec, classes: int, scales: Scales | None) -> TwoStageDetector:
    """Build a Faster R-CNN without a pyramid: the RPN and RoIAlign use conv4_x, and conv5_x is the RoI head."""
    size, method, name, norm = spec.preset.model, spec.experiment.method, spec.experiment.backbone, spec.norm
    stride, resolution = (2, 14) if size.c4_stride == 16 else (1, 7)
    body = build_backbone(name, size, norm, method, scales, stages=3, strides=(1, 2, stride))
    backbone = C4Backbone(body)
    roi_heads = RoIHeads(
        MultiLevelRoIAlign([size.c4_stride], resolution, spec.roi_samples),
        C5Head(build_stage(name, size, norm, method, scales, number=4, stride=stride)),
        BoxPredictor(2 * body.out_channels[-1], classes),
        **roi_arguments(spec),
    )
    set_losses(roi_heads, spec)
    rpn = build_rpn(spec, backbone.out_channels, [C4_ANCHORS])
    freeze_stages(body, spec.frozen_stages)
    return TwoStageDetector(backbone, rpn, roi_heads, Batching(size.pad_divisor))
