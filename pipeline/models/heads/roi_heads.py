"""torchvision's RoI heads with the papers' losses, which remember what objects of each size contributed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection import roi_heads

from pipeline.models.contract import Detections, Levels, Losses, Shapes, Targets
from pipeline.models.heads.overlap import pairwise_iou
from pipeline.models.heads.reweighting import reweighted
from pipeline.models.heads.rows import offset_rows, rows_where
from pipeline.models.heads.sampling import BoxCoder, Matcher, Sampler
from pipeline.models.heads.suppression import suppress
from pipeline.models.normaliser import Normaliser, local_normaliser

RoIFilter = Callable[[Tensor, Tensor, Tensor, dict[str, Tensor]], Tensor]


class PositiveLosses(NamedTuple):
    """Detached losses of one step's positive RoIs, which DST's feedback reads."""

    regression: Tensor  # [P], summed over the four coordinates, not normalised
    classification: Tensor  # [P]
    areas: Tensor  # [P], box area of the matched object in square network-input pixels
    all_classification: Tensor | None = None  # [], summed over all sampled RoIs or anchors, background included


class SampledRoIs(NamedTuple):
    """RoIs that one training step samples, one entry per image."""

    boxes: list[Tensor]  # [R, 4], xyxy in network-input pixels
    matched: list[Tensor]  # [R], index of the matched object; meaningless for the background
    labels: list[Tensor]  # [R], 0 is the background
    regression_targets: list[Tensor]  # [R, 4], encoded
    areas: list[Tensor]  # [R], box area of the matched object in square network-input pixels
    positive: list[Tensor]  # [P], rows of the positives among them


class RoIHeads(roi_heads.RoIHeads):
    """RoI heads with per-RoI losses, class-specific deltas [R, K, 4] and hooks for training methods.

    Attributes:
        box_loss: "l1" (MMDetection) or "smooth_l1" with beta 1 (maskrcnn-benchmark, SNIPER).
        small_below: box area in square network-input pixels below which an object's regression loss is amplified (DST,
            table 1); None amplifies none.
        filter_rois: maps RoIs [R, 4], labels [R], matched object indices [R] and a target to a mask [R] of the RoIs
            that train (SNIP); None keeps all.
        positives: losses of the last training step's positive RoIs.
        normaliser: maps the number of sampled RoIs to the losses' divisor.
    """

    box_loss: str = "l1"
    normaliser: Normaliser = staticmethod(local_normaliser)
    small_below: float | None = None
    filter_rois: RoIFilter | None = None
    positives: PositiveLosses | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        matcher, sampler = self.proposal_matcher, self.fg_bg_sampler
        self.box_similarity = pairwise_iou
        self.proposal_matcher = Matcher(matcher.high_threshold, matcher.low_threshold)
        self.fg_bg_sampler = Sampler(sampler.batch_size_per_image, sampler.positive_fraction)
        self.box_coder = BoxCoder(self.box_coder.weights)

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return matched object indices [R] and labels [R] of every image: -1 for padding and filtered RoIs."""
        matched, labels = super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        labels = [row.masked_fill(boxes[:, 2] < 0, -1) for row, boxes in zip(labels, proposals, strict=True)]
        if self.filter_rois is not None:
            for row, target in enumerate(self._targets):
                keep = self.filter_rois(proposals[row], labels[row], matched[row], target)
                labels[row] = labels[row].masked_fill(~keep, -1)
        return matched, labels

    def forward(
        self, features: Levels, proposals: list[Tensor], image_shapes: Shapes, targets: Targets | None = None
    ) -> tuple[Detections, Losses]:
        """Return detections (evaluation) and named losses (training), as torchvision's RoI heads do."""
        if not self.training:
            return self.detect(features, proposals, image_shapes), {}
        return [], self.sampled_losses(features, self.sample(proposals, targets), image_shapes, targets)[0]

    def sample(self, proposals: list[Tensor], targets: Targets) -> SampledRoIs:
        """Sample the RoIs that train from proposals [N, 4] of every image and the boxes of its objects."""
        objects = [target["boxes"].to(proposals[0].dtype) for target in targets]
        proposals = self.add_gt_proposals(proposals, objects)
        self._targets = targets
        matched, labels = self.assign_targets_to_proposals(proposals, objects, [target["labels"] for target in targets])
        self._targets = None
        rows, positive = zip(*self.subsample(labels), strict=True)
        boxes, matched, labels = (
            [part[row] for part, row in zip(parts, rows, strict=True)] for parts in (proposals, matched, labels)
        )
        wanted = [
            part[row] if len(part) else part.new_zeros(len(row), 4) for part, row in zip(objects, matched, strict=True)
        ]
        deltas = self.box_coder.encode(wanted, boxes)
        return SampledRoIs(boxes, matched, labels, list(deltas), [box_area(part) for part in wanted], list(positive))

    def subsample(self, labels: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return every image's sampled rows of labels [R], in rising order, and the positives' places among them."""
        drawn = self.fg_bg_sampler.draw(self.fg_bg_sampler.candidates(labels))
        found = []
        for positive, negative in drawn:
            rows = torch.cat([positive, negative]).sort().values
            found.append((rows, torch.searchsorted(rows, positive)))
        return found

    def predict(self, features: Levels, boxes: list[Tensor], image_shapes: Shapes) -> tuple[Tensor, Tensor]:
        """Return logits [R, K + 1] and deltas [R, K or 1, 4] for RoIs [R_i, 4] of every image."""
        return self.box_predictor(self.box_head(self.box_roi_pool(features, boxes, image_shapes)))

    def sampled_losses(
        self, features: Levels, sampled: SampledRoIs, image_shapes: Shapes, targets: Targets
    ) -> tuple[Losses, Tensor]:
        """Return the named losses of sampled RoIs and the deltas [R, K or 1, 4], by which a cascade refines them.

        Only branches that learn more than boxes and classes read `targets`.
        """
        logits, deltas = self.predict(features, sampled.boxes, image_shapes)
        labels, regression_targets, areas = map(torch.cat, (sampled.labels, sampled.regression_targets, sampled.areas))
        positive = joined_positives(sampled)
        return self.losses(logits, deltas, labels, regression_targets, areas, positive), deltas

    def losses(
        self,
        logits: Tensor,
        deltas: Tensor,
        labels: Tensor,
        regression_targets: Tensor,
        areas: Tensor,
        positive: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the classification and the regression loss, both divided by the number of sampled RoIs.

        Args:
            logits: [R, K + 1], the background first.
            deltas: [R, K, 4], or [R, 1, 4] where all classes share theirs.
            labels: [R], 0 is the background.
            regression_targets: [R, 4].
            areas: [R], box area of each RoI's matched object in square network-input pixels.
            positive: rows [P] of labels above 0, where they are known.
        """
        count = self.normaliser(labels.numel())
        if positive is None:
            (positive,) = rows_where([labels > 0])
        classification, regression = self.roi_losses(logits, deltas, labels, regression_targets, positive)
        all_losses = classification.detach()
        self.positives = PositiveLosses(regression.detach(), all_losses[positive], areas[positive], all_losses.sum())
        return {
            "loss_classifier": classification.sum() / count,
            "loss_box_reg": reweighted(regression, areas[positive], self.small_below).sum() / count,
        }

    def roi_losses(
        self, logits: Tensor, deltas: Tensor, labels: Tensor, regression_targets: Tensor, positive: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return all RoIs' classification losses [R], and the regression losses [P] of the positives in rows [P]."""
        classification = F.cross_entropy(logits, labels, reduction="none")
        chosen, wanted = chosen_deltas(deltas, positive, labels[positive] - 1), regression_targets[positive]
        return classification, self.box_losses(chosen, wanted)

    def box_losses(self, deltas: Tensor, wanted: Tensor) -> Tensor:
        """Return the regression loss [P] of positives' deltas [P, 4], summed over the four coordinates."""
        loss = F.l1_loss if self.box_loss == "l1" else F.smooth_l1_loss
        return loss(deltas, wanted, reduction="none").sum(dim=1)

    def dense_parts(self, images: Tensor, channels: int, proposals: int) -> None:
        """Run the parts whose multiply-adds count on `proposals` RoIs of `channels` channels on the images' device."""
        rois = torch.empty(proposals, channels, *self.box_roi_pool.output_size, device=images.device)
        self.box_predictor(self.box_head(rois))

    def detect(self, features: Levels, proposals: list[Tensor], image_shapes: Shapes) -> Detections:
        """Return boxes [D, 4], labels [D] and scores [D] of every image after the score threshold and per-class NMS."""
        logits, deltas = self.predict(features, proposals, image_shapes)
        return self.select_detections(logits.softmax(dim=-1), deltas, proposals, image_shapes)

    def keep_candidates(self) -> None:
        """Suppress nothing and cut nothing off from now on."""
        self.nms_thresh, self.detections_per_img = None, None

    def select_detections(
        self, scores: Tensor, deltas: Tensor, proposals: list[Tensor], image_shapes: Shapes
    ) -> Detections:
        """Return every image's detections from scores [R, K + 1] (background first) and deltas [R, K or 1, 4]."""
        scores = scores[:, 1:]
        results = []
        counts = [len(boxes) for boxes in proposals]
        for rois, score, delta, shape in zip(
            proposals, scores.split(counts), deltas.split(counts), image_shapes, strict=True
        ):
            row, label = torch.where(score > self.score_thresh)
            boxes = self.box_coder.decode_single(chosen_deltas(delta, row, label), rois[row]).reshape(-1, 4)
            found = suppress(boxes, score[row, label], label, shape, self.nms_thresh, self.detections_per_img)
            results.append(found)
        return results


def joined_positives(sampled: SampledRoIs) -> Tensor:
    """Return the rows [P] of the positives among the sampled RoIs of all images joined."""
    return offset_rows(sampled.positive, [len(boxes) for boxes in sampled.boxes])


def chosen_deltas(deltas: Tensor, rows: Tensor, classes: Tensor) -> Tensor:
    """Pick from deltas [R, K, 4], or class-agnostic [R, 1, 4], those [n, 4] of `rows` [n] and classes [n] from 0."""
    return deltas[rows, classes if deltas.shape[1] > 1 else torch.zeros_like(classes)]


def box_area(boxes: Tensor) -> Tensor:
    """Return the areas [N] of half-open xyxy boxes [N, 4]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
