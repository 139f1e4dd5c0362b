"""FCOS as first published: every position inside an object predicts its four sides (Tian et al., ICCV 2019)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from pipeline.models.backbones.build import Scales
from pipeline.models.heads.dense import DenseDetector, Outputs, assemble_dense, flatten_level, top_candidates
from pipeline.models.heads.focal import LEVELS, PRIOR, FocalHead, build_pyramid, level_positions, prediction, tower
from pipeline.models.heads.reweighting import reweighted
from pipeline.models.heads.roi_heads import PositiveLosses, box_area
from pipeline.models.heads.rows import rows_where
from pipeline.models.heads.valid_ranges import assign_points_in_range
from pipeline.preset import ModelSize
from pipeline.spec import Spec

RANGES = (0.0, 64.0, 128.0, 256.0, 512.0, float("inf"))  # longest distance to a side, on the papers' 800-pixel scale
NMS_IOU = 0.6
LONGEST = 9.0  # largest exponent of a distance: 8,103 pixels, so that an early step cannot overflow
LEAST_IOU = 1e-6


class FCOSHead(FocalHead):
    """Class scores, distances to the box's sides and centerness of every position; arguments as `RetinaNetHead`."""

    def __init__(self, channels: int, classes: int, size: ModelSize, factor: float) -> None:
        super().__init__(classes, size, NMS_IOU)
        self.ranges = [limit * factor for limit in RANGES]
        self.classification, self.regression = (tower(channels, size, normalised=True) for _ in range(2))
        self.logits = prediction(channels, classes, PRIOR)
        self.centerness = prediction(channels, 1)
        self.distances = prediction(channels, 4)
        self.scales = nn.Parameter(torch.ones(LEVELS))

    def forward(self, features: list[Tensor]) -> Outputs:
        """Map levels [N, C, H, W] to `logits` [N, K, H, W], `centerness` [N, 1, H, W] and `distances` [N, 4, H, W].

        Distances to the left, upper, right and lower side are in network-input pixels.
        """
        outputs: Outputs = {"logits": [], "centerness": [], "distances": []}
        for level, scale in zip(features, self.scales, strict=True):
            classified = self.classification(level)
            outputs["logits"].append(self.logits(classified).float())
            outputs["centerness"].append(self.centerness(classified).float())
            exponents = self.distances(self.regression(level)).float() * scale
            outputs["distances"].append(exponents.clamp(max=LONGEST).exp())
        return outputs

    def points(self, level: int, output: Tensor) -> Tensor:
        """Return a level's positions [H W, 2] (x, y), in the middle of their cells."""
        return level_positions(output, self.strides[level], self.strides[level] // 2)

    def losses(self, outputs: Outputs, images: ImageList, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the focal loss, the IoU loss weighted by centerness, and the cross-entropy of centerness.

        The first and last are divided by the batch's number of positives, the IoU loss by their summed centerness.
        """
        logits, centerness, distances = (
            torch.cat([flatten_level(level, parts) for level in outputs[name]], dim=1)
            for name, parts in (("logits", self.classes), ("centerness", 1), ("distances", 4))
        )
        levels = [self.points(level, output) for level, output in enumerate(outputs["logits"])]
        points = torch.cat(levels)
        low, high = (
            torch.cat([level.new_full((len(level),), limit) for level, limit in zip(levels, limits, strict=True)])
            for limits in (self.ranges[:-1], self.ranges[1:])
        )
        total, classification, overlap, centered, wanted_center, areas = [], [], [], [], [], []
        assign = partial(assign_points, points, low, high)
        all_matched = [assign_points_in_range(assign, target, self.ignore_iou) for target in targets]
        positives = rows_where([matched >= 0 for matched in all_matched])
        for row, (target, matched, positive) in enumerate(zip(targets, all_matched, positives, strict=True)):
            boxes, focal = self.focal_losses(logits[row], matched, positive, target)
            total.append(focal.sum())
            classification.append(focal[positive])
            sides = distances_to_sides(points[positive], boxes)
            overlap.append(iou_loss(distances[row, positive], sides))
            centered.append(centerness[row, positive, 0])
            wanted_center.append(centerness_of(sides))
            areas.append(box_area(boxes))
        weights = torch.cat(wanted_center)
        regression, classified, sizes = torch.cat(overlap) * weights, torch.cat(classification), torch.cat(areas)
        summed = torch.stack(total).sum()
        self.positives = PositiveLosses(regression.detach(), classified.detach(), sizes, summed.detach())
        count = self.normaliser(len(weights))
        center = F.binary_cross_entropy_with_logits(torch.cat(centered), weights, reduction="sum")
        return {
            "loss_classifier": summed / count,
            "loss_box_reg": reweighted(regression, sizes, self.small_below).sum()
            / self.normaliser(weights.sum(), LEAST_IOU),
            "loss_centerness": center / count,
        }

    def level_candidates(self, level: int, outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes [n, 4], scores [n] and classes [n] of a level's best positions.

        Class scores must exceed the threshold. Candidates rank by class score times centerness; its root is the score.
        """
        logits, centerness, distances = (
            flatten_level(outputs[name], parts)[0]
            for name, parts in (("logits", self.classes), ("centerness", 1), ("distances", 4))
        )
        found = logits.sigmoid()
        found = torch.where(found > self.score_threshold, found * centerness.sigmoid(), 0.0)
        scores, rows, classes = top_candidates(found, 0.0, self.candidates)
        points = self.points(level, outputs["logits"])[rows]
        boxes = torch.cat([points - distances[rows, :2], points + distances[rows, 2:]], dim=1)
        return boxes, scores.sqrt(), classes


def distances_to_sides(points: Tensor, boxes: Tensor) -> Tensor:
    """Return distances [..., 4] of points [..., 2] to the left, upper, right and lower sides of boxes [..., 4]."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def assign_points(points: Tensor, low: Tensor, high: Tensor, boxes: Tensor) -> Tensor:
    """Return the object of every point, -1 where there is none (FCOS, sections 3.1 and 3.2).

    Args:
        points: [L, 2], x and y.
        low: [L], the longest distance to a side must be at least this on the point's level.
        high: [L], and at most this.
        boxes: [G, 4], xyxy objects of one image.

    Returns:
        [L], index of the smallest object that contains the point strictly and fits its level.
    """
    if not len(boxes):
        return torch.full((len(points),), -1, dtype=torch.int64, device=points.device)
    sides = distances_to_sides(points[:, None].expand(-1, len(boxes), -1), boxes.expand(len(points), -1, -1))
    longest = sides.amax(dim=2)
    suits = (sides.amin(dim=2) > 0) & (longest >= low[:, None]) & (longest <= high[:, None])
    smallest, matched = torch.where(suits, box_area(boxes), torch.inf).min(dim=1)
    return matched.masked_fill(smallest.isinf(), -1)


def centerness_of(sides: Tensor) -> Tensor:
    """Return the centerness [P] of positive distances to sides [P, 4] (FCOS, equation 3)."""
    horizontal, vertical = sides[:, 0::2], sides[:, 1::2]
    ratios = horizontal.amin(dim=1) / horizontal.amax(dim=1) * (vertical.amin(dim=1) / vertical.amax(dim=1))
    return ratios.sqrt()


def iou_loss(distances: Tensor, wanted: Tensor) -> Tensor:
    """Return -log IoU [P] of two boxes around each point, given by the point's distances [P, 4] to their sides.

    Differs from the authors' code, which adds one pixel to intersection and union: that would blur small presets.
    """
    inner = torch.minimum(distances, wanted)
    intersection = (inner[:, 0] + inner[:, 2]) * (inner[:, 1] + inner[:, 3])
    areas = [(d[:, 0] + d[:, 2]) * (d[:, 1] + d[:, 3]) for d in (distances, wanted)]
    return -(intersection / (sum(areas) - intersection)).clamp(min=LEAST_IOU).log()


def build_fcos(spec: Spec, classes: int = 80, scales: Scales | None = None) -> DenseDetector:
    """Build the FCOS of a specification, under torchvision's detection contract.

    Without later improvements, as when DST was written: positives anywhere in an object, centerness beside the classes,
    -log IoU, distances in pixels.
    """
    backbone = build_pyramid(spec, scales, "p5")
    head = FCOSHead(backbone.out_channels, classes, spec.preset.model, spec.preset.factor)
    return assemble_dense(spec, backbone, head)
