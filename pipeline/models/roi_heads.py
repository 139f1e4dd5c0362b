"""torchvision's RoI heads with the papers' losses, which remember what each object size contributed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection import roi_heads
from torchvision.ops import boxes as box_ops

RoIFilter = Callable[[Tensor, Tensor, Tensor, dict[str, Tensor]], Tensor]


class PositiveLosses(NamedTuple):
    """Losses of one step's positive RoIs, detached: what DST's feedback reads."""

    regression: Tensor  # [P], summed over the four coordinates, not normalised
    classification: Tensor  # [P]
    areas: Tensor  # [P], box area of the matched object in network-input pixels


class RoIHeads(roi_heads.RoIHeads):
    """RoI heads with per-RoI losses, class-specific deltas [R, K, 4] and openings for training paradigms.

    Attributes:
        box_loss: "l1" (MMDetection) or "smooth_l1" with beta 1 (maskrcnn-benchmark, SNIPER).
        small_loss_weight: factor on the losses of small objects' RoIs (DST, table 1); 1 changes nothing.
        small_area: box area in network-input pixels under which an object is small (32^2 at the papers' size).
        filter_rois: maps RoIs [R, 4], labels [R], matched object indices [R] and a target to the mask [R] of RoIs that
            take part (SNIP); None keeps all.
        positives: losses of the last training step's positive RoIs.
    """

    box_loss: str = "l1"
    small_loss_weight: float = 1.0
    small_area: float = 32.0**2
    large_area: float = 96.0**2
    filter_rois: RoIFilter | None = None
    positives: PositiveLosses | None = None

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return matched object indices [R] and labels [R] of every image; filtered RoIs are labelled -1."""
        matched, labels = super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        if self.filter_rois is not None:
            for row, target in enumerate(self._targets):
                keep = self.filter_rois(proposals[row], labels[row], matched[row], target)
                labels[row] = labels[row].masked_fill(~keep, -1)
        return matched, labels

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections (evaluation) and named losses (training), as torchvision's RoI heads do."""
        if not self.training:
            return self.detect(features, proposals, image_shapes), {}
        self._targets = targets
        proposals, matched, labels, regression_targets = self.select_training_samples(proposals, targets)
        self._targets = None
        areas = torch.cat(
            [
                box_area(target["boxes"])[index] if len(target["boxes"]) else index.new_zeros(len(index)).float()
                for target, index in zip(targets, matched, strict=True)
            ]
        )
        logits, deltas = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, image_shapes)))
        return [], self.losses(logits, deltas, torch.cat(labels), torch.cat(regression_targets), areas)

    def losses(
        self, logits: Tensor, deltas: Tensor, labels: Tensor, regression_targets: Tensor, areas: Tensor
    ) -> dict[str, Tensor]:
        """Return classification and regression loss, both over the number of sampled RoIs.

        Args:
            logits: [R, K + 1], the background first.
            deltas: [R, K, 4].
            labels: [R], 0 is the background.
            regression_targets: [R, 4].
            areas: [R], box area of each RoI's matched object, in network-input pixels.
        """
        count = max(1, labels.numel())
        positive = torch.where(labels > 0)[0]
        weights = torch.ones_like(areas)
        weights[(labels > 0) & (areas < self.small_area)] = self.small_loss_weight
        classification = F.cross_entropy(logits, labels, reduction="none")
        chosen, wanted = deltas[positive, labels[positive] - 1], regression_targets[positive]
        loss = F.l1_loss if self.box_loss == "l1" else F.smooth_l1_loss
        regression = loss(chosen, wanted, reduction="none").sum(dim=1)
        self.positives = PositiveLosses(regression.detach(), classification[positive].detach(), areas[positive])
        return {
            "loss_classifier": (classification * weights).sum() / count,
            "loss_box_reg": (regression * weights[positive]).sum() / count,
        }

    def detect(
        self, features: dict[str, Tensor], proposals: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """Return boxes [D, 4], labels [D] and scores [D] of every image after score threshold and per-class NMS."""
        logits, deltas = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, image_shapes)))
        scores = logits.softmax(dim=-1)[:, 1:]  # [R, K]
        results = []
        counts = [len(boxes) for boxes in proposals]
        for rois, score, delta, shape in zip(
            proposals, scores.split(counts), deltas.split(counts), image_shapes, strict=True
        ):
            row, label = torch.where(score > self.score_thresh)
            boxes = self.box_coder.decode_single(delta[row, label], rois[row]).reshape(-1, 4)
            boxes = box_ops.clip_boxes_to_image(boxes, shape)
            kept = box_ops.remove_small_boxes(boxes, min_size=1e-2)
            boxes, label, score = boxes[kept], label[kept], score[row, label][kept]
            kept = box_ops.batched_nms(boxes, score, label, self.nms_thresh)[: self.detections_per_img]
            results.append({"boxes": boxes[kept], "labels": label[kept] + 1, "scores": score[kept]})
        return results


def box_area(boxes: Tensor) -> Tensor:
    """Return the areas [N] of half-open xyxy boxes [N, 4]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
