"""torchvision's region proposal network with one hook, which labels the anchors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection import rpn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import clip_boxes_to_image

from pipeline.models.contract import Levels, Losses, Shapes, Targets
from pipeline.models.heads.overlap import pairwise_iou
from pipeline.models.heads.rows import Rows, offset_rows
from pipeline.models.heads.sampling import BoxCoder, Matcher, Sampler
from pipeline.models.heads.suppression import padded_best
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
        matcher, sampler = self.proposal_matcher, self.fg_bg_sampler
        self.box_similarity = pairwise_iou
        self.proposal_matcher = Matcher(matcher.high_threshold, matcher.low_threshold, allow_low_quality_matches=True)
        self.fg_bg_sampler = Sampler(sampler.batch_size_per_image, sampler.positive_fraction)
        self.box_coder = BoxCoder(self.box_coder.weights)

    def forward(
        self, images: ImageList, features: Levels, targets: Targets | None = None
    ) -> tuple[list[Tensor], Losses]:
        """Return proposals [P, 4] of every image and, in training, named losses.

        Anchors are labelled before proposals are suppressed, so that one wait for a GPU serves both.
        """
        maps = list(features.values())
        objectness, deltas = self.head(maps)
        anchors = self.anchor_generator(images, maps)
        levels = [level[0].numel() for level in objectness]
        objectness, deltas = concat_box_prediction_layers(objectness, deltas)
        if self.training:
            labels, matched = self.assign_targets_to_anchors(anchors, targets)
            candidates = self.fg_bg_sampler.candidates(labels)
        boxes = self.box_coder.decode(deltas.detach(), anchors).view(len(anchors), -1, 4)
        proposals, _ = self.filter_proposals(boxes, objectness, images.image_sizes, levels)
        if not self.training:
            return proposals, {}
        wanted = torch.cat(self.box_coder.encode(matched, anchors))
        found = self.anchor_losses(objectness.flatten(), deltas, labels, wanted, candidates)
        return proposals, {
            "loss_objectness": found.objectness.sum() / found.count,
            "loss_rpn_box_reg": found.regression.sum() / found.count,
        }

    def filter_proposals(
        self, proposals: Tensor, objectness: Tensor, image_shapes: Shapes, num_anchors_per_level: list[int]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the proposals [P, 4] of every image that suppression leaves, best first, and their scores [P].

        Training on a GPU, images share one suppression, and have as many proposals each, ending with `PADDING`.

        Args:
            proposals: [N, A, 4], decoded.
            objectness: [N A, 1], logits.
            image_shapes: (h, w) of every image.
            num_anchors_per_level: their sum is A.
        """
        if not (self.training and proposals.is_cuda):
            return super().filter_proposals(proposals, objectness, image_shapes, num_anchors_per_level)
        logits = objectness.detach().reshape(len(proposals), -1)
        best = self._get_top_n_idx(logits, num_anchors_per_level)  # [N, M]
        scores = logits.gather(1, best).sigmoid()
        boxes = proposals.gather(1, best[..., None].expand(-1, -1, 4))
        boxes = torch.stack([clip_boxes_to_image(part, shape) for part, shape in zip(boxes, image_shapes, strict=True)])
        kept = ((boxes[..., 2:] - boxes[..., :2]) >= self.min_size).all(dim=2) & (scores >= self.score_thresh)
        counts = [min(count, self.pre_nms_top_n()) for count in num_anchors_per_level]
        side = max(max(shape) for shape in image_shapes)
        return padded_best(boxes, scores, kept, counts, side, self.nms_thresh, self.post_nms_top_n())

    def assign_targets_to_anchors(self, anchors: list[Tensor], targets: Targets) -> tuple[list[Tensor], list[Tensor]]:
        """Return labels [A] and matched boxes [A, 4] for every image."""
        if self.label_anchors is None:
            return super().assign_targets_to_anchors(anchors, targets)
        labels = [self.label_anchors(boxes, target).float() for boxes, target in zip(anchors, targets, strict=True)]
        # An anchor that ties for an object's best can be positive below the threshold: match each to its best.
        matched = [
            target["boxes"][self.box_similarity(target["boxes"], boxes).argmax(dim=0)]
            if len(target["boxes"])
            else torch.zeros_like(boxes)
            for boxes, target in zip(anchors, targets, strict=True)
        ]
        return labels, matched

    def anchor_losses(
        self,
        objectness: Tensor,
        deltas: Tensor,
        labels: list[Tensor],
        wanted: Tensor,
        candidates: Rows | None = None,
    ) -> AnchorLosses:
        """Sample anchors of every image and return their losses.

        Args:
            objectness: [A], of all images.
            deltas: [A, 4].
            labels: [A_i] of every image: 1 object, 0 background, -1 ignored.
            wanted: [A, 4], encoded matched boxes.
            candidates: the sampler's, for these labels, where they have been asked for.
        """
        drawn = self.fg_bg_sampler.draw(candidates or self.fg_bg_sampler.candidates(labels))
        lengths = [len(part) for part in labels]
        positive, negative = (offset_rows(rows, lengths) for rows in zip(*drawn, strict=True))
        sampled = torch.cat([positive, negative])
        loss = F.binary_cross_entropy_with_logits(objectness[sampled], torch.cat(labels)[sampled], reduction="none")
        beta = BETA if self.box_loss == "smooth_l1" else 0.0  # smooth L1 of beta 0 is L1
        regression = F.smooth_l1_loss(deltas[positive], wanted[positive], beta=beta, reduction="none").sum(dim=1)
        return AnchorLosses(loss, regression, positive, self.normaliser(len(sampled)))
