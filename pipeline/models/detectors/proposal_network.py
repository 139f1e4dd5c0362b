"""A region proposal network trained alone: class-free boxes, best first (SNIP, section 7.2 and table 3)."""

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers

from pipeline.models.backbones.build import Scales
from pipeline.models.batching import Batching
from pipeline.models.contract import Detections, Levels, Losses, Shapes, Targets
from pipeline.models.detectors.rfcn import build_dilated
from pipeline.models.heads.detector import Detector
from pipeline.models.heads.roi_heads import PositiveLosses, box_area
from pipeline.models.heads.rows import rows_where
from pipeline.models.heads.rpn import RegionProposalNetwork
from pipeline.models.heads.two_stage import ASPECT_RATIOS, CANDIDATES, FloatRPNHead, anchor_generator
from pipeline.options import ProposalNetwork
from pipeline.spec import Spec

HIDDEN = 512  # channels of the 3x3 convolution at the papers' size (R-FCN)
BORDER = 32  # pixels that a training anchor may reach out of the image (SNIPER), on the papers' 800-pixel scale


class SingleLevelBackbone(nn.Module):
    """Backbone body with one feature map: conv4, or the channels of conv4 and conv5 joined."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.out_channels = sum(body.out_channels[2:])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images [N, 3, H, W] to one level."""
        return {"0": torch.cat(list(self.body(x).values())[2:], dim=1)}


class StandaloneRPN(RegionProposalNetwork):
    """Region proposal network whose proposals keep their scores, and which remembers its positives' losses.

    Attributes:
        border: network-input pixels; anchors that reach further out of the image do not train.
        positives: losses of the last training step's sampled positive anchors.
    """

    border: float = float("inf")
    positives: PositiveLosses | None = None

    def forward(self, images: ImageList, features: Levels, targets: Targets | None = None) -> tuple[Detections, Losses]:
        """Return proposals (evaluation) or named losses (training).

        Proposals are `boxes` [P, 4] in network-input pixels, `scores` [P], best first, and `labels` [P], all 1.
        """
        maps = list(features.values())
        objectness, deltas = self.head(maps)
        anchors = self.anchor_generator(images, maps)
        levels = [level[0].numel() for level in objectness]
        objectness, deltas = concat_box_prediction_layers(objectness, deltas)
        if self.training:
            labels, matched = self.assign_inside(anchors, targets, images.image_sizes)
            wanted = torch.cat(self.box_coder.encode(matched, anchors))
            areas = torch.cat([box_area(boxes) for boxes in matched])
            return [], self.sampled_losses(objectness.flatten(), deltas, labels, wanted, areas)
        boxes = self.box_coder.decode(deltas, anchors).view(len(anchors), -1, 4)
        found = self.filter_proposals(boxes, objectness, images.image_sizes, levels)
        return [
            {"boxes": boxes, "labels": torch.ones_like(scores, dtype=torch.int64), "scores": scores}
            for boxes, scores in zip(*found, strict=True)
        ], {}

    def assign_inside(
        self, anchors: list[Tensor], targets: Targets, sizes: Shapes
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return labels [A] (-1 beyond the border) and matched boxes [A, 4] of every image.

        Every object keeps its best anchor among those inside the border (Faster R-CNN, section 3.1.2).
        """
        inside = [
            (boxes[:, :2] >= -self.border).all(dim=1)
            & (boxes[:, 2] <= width + self.border)
            & (boxes[:, 3] <= height + self.border)
            for boxes, (height, width) in zip(anchors, sizes, strict=True)
        ]
        all_labels, all_matched = [], []
        for boxes, target, rows in zip(anchors, targets, rows_where(inside), strict=True):
            labels, matched = boxes.new_full((len(boxes),), -1), boxes.clone()
            if len(rows):
                part = self.assign_targets_to_anchors([boxes[rows]], [target])
                labels[rows], matched[rows] = part[0][0], part[1][0].to(boxes.dtype)
            all_labels.append(labels)
            all_matched.append(matched)
        return all_labels, all_matched

    def sampled_losses(
        self, objectness: Tensor, deltas: Tensor, labels: list[Tensor], wanted: Tensor, areas: Tensor
    ) -> dict[str, Tensor]:
        """Return both losses divided by the number of sampled anchors, zero where there are none.

        Takes the arguments of `anchor_losses`, and areas [A]: the box area of each anchor's matched object in
        network-input pixels.
        """
        loss, regression, positive, count = self.anchor_losses(objectness, deltas, labels, wanted)
        self.positives = PositiveLosses(
            regression.detach(), loss[: len(positive)].detach(), areas[positive], loss.detach().sum()
        )
        return {"loss_objectness": loss.sum() / count, "loss_rpn_box_reg": regression.sum() / count}


class ProposalDetector(Detector):
    """Backbone and RPN under torchvision's detection contract; the detections are proposals of one class."""

    def __init__(self, backbone: SingleLevelBackbone, rpn: StandaloneRPN, transform: Batching) -> None:
        super().__init__(backbone, transform)
        self.rpn = rpn

    @property
    def positives(self) -> PositiveLosses | None:
        """Losses of the last training step's positive anchors."""
        return self.rpn.positives

    def run(self, features: Levels, images: ImageList, targets: Targets | None) -> tuple[Detections, Losses]:
        """Return proposals (evaluation) and named losses (training)."""
        return self.rpn(images, features, targets)

    def dense_parts(self, images: Tensor, proposals: int) -> None:
        """Run the parts whose multiply-adds count, on images [N, 3, H, W]: everything but NMS."""
        self.rpn.head(list(self.backbone(images).values()))


def build_proposal_network(spec: Spec, classes: int = 80, scales: Scales | None = None) -> ProposalDetector:
    """Build the class-agnostic proposal network of a specification.

    Args:
        spec: the resolved experiment.
        classes: not read; all builders take the same arguments.
        scales: learnt global scale of every decomposed block, (1, 1) where it is None.
    """
    size, recipe, factor = spec.preset.model, spec.recipe, spec.preset.factor
    options = spec.experiment.rpn or ProposalNetwork()
    body = build_dilated(spec, spec.experiment.backbone, scales, stages=4 if options.features == "conv45" else 3)
    backbone = SingleLevelBackbone(body)
    hidden = max(8, round(HIDDEN * size.width))
    rpn = StandaloneRPN(
        anchor_generator(spec, [options.anchors]),
        FloatRPNHead(backbone.out_channels, len(ASPECT_RATIOS) * len(options.anchors), hidden),
        fg_iou_thresh=recipe.rpn_positive_iou,
        bg_iou_thresh=recipe.rpn_negative_iou,
        batch_size_per_image=size.rpn_batch,
        positive_fraction=0.5,
        pre_nms_top_n={"testing": CANDIDATES * size.rpn_pre_nms_test},
        post_nms_top_n={"testing": spec.kept_proposals},
        nms_thresh=0.7,
    )
    rpn.border = BORDER * factor
    return ProposalDetector(backbone, rpn, Batching(size.pad_divisor))
