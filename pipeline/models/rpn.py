"""torchvision's region proposal network with one opening: who labels the anchors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.models.detection import rpn

AnchorLabeller = Callable[[Tensor, dict[str, Tensor]], Tensor]


class RegionProposalNetwork(rpn.RegionProposalNetwork):
    """Region proposal network whose anchor labels can come from a training paradigm (SNIP's valid ranges).

    Attributes:
        label_anchors: maps anchors [A, 4] and one image's target to labels [A] (1 object, 0 background, -1 ignored);
            None keeps torchvision's rule.
    """

    label_anchors: AnchorLabeller | None = None

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return labels [A] and matched boxes [A, 4] for every image."""
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        if self.label_anchors is not None:
            labels = [
                self.label_anchors(boxes, target).to(old.dtype)
                for boxes, target, old in zip(anchors, targets, labels, strict=True)
            ]
            # A tie with an object's best anchor can be positive below the threshold: match it to its best object too.
            for row, (boxes, target) in enumerate(zip(anchors, targets, strict=True)):
                if len(target["boxes"]):
                    best = self.box_similarity(target["boxes"], boxes).argmax(dim=0)
                    matched[row] = target["boxes"][best]
        return labels, matched

    def compute_loss(
        self, objectness: Tensor, deltas: Tensor, labels: list[Tensor], targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return torchvision's losses; zero, not NaN, where every anchor of the batch is ignored."""
        if all(bool((row < 0).all()) for row in labels):
            zero = objectness.sum() * 0
            return zero, deltas.sum() * 0
        return super().compute_loss(objectness, deltas, labels, targets)


def count_anchors(labels: list[Tensor]) -> tuple[int, int, int]:
    """Return how many anchors are objects, background and ignored."""
    joined = torch.cat(labels)
    return int((joined == 1).sum()), int((joined == 0).sum()), int((joined < 0).sum())
