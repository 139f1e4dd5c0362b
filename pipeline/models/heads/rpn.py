"""torchvision's region proposal network with one hook, which labels the anchors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection import rpn

from pipeline.models.contract import Targets
from pipeline.models.heads.overlap import pairwise_iou
from pipeline.models.normaliser import Normaliser, local_normaliser

AnchorLabeller = Callable[[Tensor, dict[str, Tensor]], Tensor]
BETA = 1 / 9  # of the smooth L1 loss


class AnchorLosses(NamedTuple):
    """Losses of the anchors that one step samples."""

    objectness: Tensor  # [S], positives first
    regression: Tensor  # [P] of the positives, summed over the four coordinates
    positive: Tensor  # [P], rows of the positives among all anchors
    count: float | Tensor  # the divisor of both sums


class RegionProposalNetwork(rpn.RegionProposalNetwork):
    """Region proposal network whose anchor labels can come from a training method (SNIP's valid ranges).

    Attributes:
        box_loss: "smooth_l1" with beta 1/9 (Detectron, maskrcnn-benchmark, MMDetection 1) or "l1" (MMDetection 2).
        label_anchors: maps anchors [A, 4] and one image's target to labels [A] (1 object, 0 background, -1 ignored);
            None keeps torchvision's rule.
        normaliser: maps the number of sampled anchors to the losses' divisor.
    """

    box_loss: str = "smooth_l1"
    label_anchors: AnchorLabeller | None = None
    normaliser: Normaliser = staticmethod(local_normaliser)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.box_similarity = pairwise_iou

    def assign_targets_to_anchors(self, anchors: list[Tensor], targets: Targets) -> tuple[list[Tensor], list[Tensor]]:
        """Return labels [A] and matched boxes [A, 4] for every image."""
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        if self.label_anchors is not None:
            labels = [
                self.label_anchors(boxes, target).to(old.dtype)
                for boxes, target, old in zip(anchors, targets, labels, strict=True)
            ]
            # An anchor that ties for an object's best can be positive below the threshold: match it to its best, too.
            for row, (boxes, target) in enumerate(zip(anchors, targets, strict=True)):
                if len(target["boxes"]):
                    best = self.box_similarity(target["boxes"], boxes).argmax(dim=0)
                    matched[row] = target["boxes"][best]
        return labels, matched

    def compute_loss(
        self, objectness: Tensor, deltas: Tensor, labels: list[Tensor], targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return torchvision's losses, but zero instead of NaN where every anchor of the batch is ignored."""
        found = self.anchor_losses(objectness.flatten(), deltas, labels, torch.cat(targets))
        return found.objectness.sum() / found.count, found.regression.sum() / found.count

    def anchor_losses(self, objectness: Tensor, deltas: Tensor, labels: list[Tensor], wanted: Tensor) -> AnchorLosses:
        """Sample anchors of every image and return their losses.

        Args:
            objectness: [A], of all images.
            deltas: [A, 4].
            labels: [A_i] of every image: 1 object, 0 background, -1 ignored.
            wanted: [A, 4], encoded matched boxes.
        """
        positive, negative = (torch.where(torch.cat(masks))[0] for masks in self.fg_bg_sampler(labels))
        sampled = torch.cat([positive, negative])
        loss = F.binary_cross_entropy_with_logits(objectness[sampled], torch.cat(labels)[sampled], reduction="none")
        beta = BETA if self.box_loss == "smooth_l1" else 0.0  # smooth L1 of beta 0 is L1
        regression = F.smooth_l1_loss(deltas[positive], wanted[positive], beta=beta, reduction="none").sum(dim=1)
        return AnchorLosses(loss, regression, positive, self.normaliser(len(sampled)))
