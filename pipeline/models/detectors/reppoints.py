"""RepPoints: objects as sets of nine points, refined once, with the moment transform (Yang et al., ICCV 2019)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from pipeline.models.backbones.build import Scales
from pipeline.models.backbones.deformable import deformable_conv2d
from pipeline.models.heads.dense import DenseDetector, Outputs, assemble_dense, flatten_level, top_candidates
from pipeline.models.heads.focal import PRIOR, FocalHead, build_pyramid, level_positions, prediction, start, tower
from pipeline.models.heads.point_sets import POINTS, match_positions, moment_boxes, place
from pipeline.models.heads.reweighting import reweighted
from pipeline.models.heads.roi_heads import PositiveLosses, box_area
from pipeline.models.heads.rows import rows_where
from pipeline.models.heads.valid_ranges import assign_points_in_range, match_anchors_in_range
from pipeline.preset import ModelSize
from pipeline.spec import Spec

CONVS = 3  # of a tower, without normalisation, as the printed parameter count requires
BASE = 4  # width of a level's objects in strides, by which box losses are divided, on the 800-pixel scale
OFFSET_GRADIENT = 0.1  # share of the gradient that reaches the first points through the deformable convolutions
BETA = 0.11  # of smooth L1
INITIAL_WEIGHT = 0.5
NMS_IOU = 0.5


class PointConv(nn.Module):
    """A 3x3 convolution without bias that reads its taps at the points of a set, followed by ReLU."""

    grid: Tensor  # [18, 1, 1], where the taps of a plain convolution lie, (y, x) row by row

    def __init__(self, channels: int, strong: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(start(nn.Conv2d(channels, channels, 3), strong).weight.detach())
        offsets = torch.cartesian_prod(torch.arange(-1.0, 2), torch.arange(-1.0, 2))
        self.register_buffer("grid", offsets.reshape(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor, points: Tensor) -> Tensor:
        """Map x [N, C, H, W] and points [N, 18, H, W], in strides from each position, to [N, C, H, W] in fp32."""
        return deformable_conv2d(x, points - self.grid, self.weight, padding=(1, 1)).relu()


class RepPointsHead(FocalHead):
    """Class scores, a first point set and a refined one for every position; arguments as `RetinaNetHead`."""

    def __init__(self, channels: int, classes: int, size: ModelSize, factor: float) -> None:
        super().__init__(classes, size, NMS_IOU)
        self.base = BASE * self.finer * factor
        self.classification, self.regression = (tower(channels, size, convs=CONVS) for _ in range(2))
        self.initial = nn.Sequential(
            prediction(channels, channels), nn.ReLU(), prediction(channels, 2 * POINTS, kernel=1)
        )
        self.classify_points, self.refine_points = (PointConv(channels, size.dense_norm) for _ in range(2))
        self.logits = prediction(channels, classes, PRIOR, kernel=1)
        self.refined = prediction(channels, 2 * POINTS, kernel=1)
        self.spread = nn.Parameter(torch.zeros(2))  # x, y

    def forward(self, features: list[Tensor]) -> Outputs:
        """Map levels [N, C, H, W] to `logits` [N, K, H, W] and `initial` and `refined` points [N, 18, H, W].

        Points are (y, x) relative to each position, in strides.
        """
        outputs: Outputs = {"logits": [], "initial": [], "refined": []}
        for level in features:
            moved = self.regression(level)
            initial = self.initial(moved).float()
            points = OFFSET_GRADIENT * initial + (1 - OFFSET_GRADIENT) * initial.detach()
            classified = self.classify_points(self.classification(level), points)
            outputs["logits"].append(self.logits(classified).float())
            outputs["initial"].append(initial)
            outputs["refined"].append(self.refined(self.refine_points(moved, points)).float() + initial.detach())
        return outputs

    def losses(self, outputs: Outputs, images: ImageList, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the focal loss and the losses of the first and of the refined boxes.

        First positives are the positions nearest to objects; refined positives are the positions whose first box
        overlaps an object enough (RepPoints, section 4.2). The first boxes' loss is divided by the number of first
        positives, the others by that of refined ones. Box losses are smooth L1 in units of `BASE` strides.
        """
        logits, initial, refined = (
            torch.cat([flatten_level(level, parts) for level in outputs[name]], dim=1)
            for name, parts in (("logits", self.classes), ("initial", 2 * POINTS), ("refined", 2 * POINTS))
        )
        levels = [level_positions(level, stride) for level, stride in zip(outputs["logits"], self.strides, strict=True)]
        positions = torch.cat(levels)
        strides = torch.cat(
            [torch.full_like(level[:, 0], stride) for level, stride in zip(levels, self.strides, strict=True)]
        )
        first_boxes = place(moment_boxes(initial.detach(), self.spread.detach()), positions, strides)
        shapes = [tuple(level.shape[-2:]) for level in outputs["logits"]]
        assign = partial(match_positions, shapes, self.strides, base=self.base)
        first_matched = [assign_points_in_range(assign, target, self.ignore_iou) for target in targets]
        all_matched = [
            match_anchors_in_range(boxes, target, self.ignore_iou)
            for boxes, target in zip(first_boxes, targets, strict=True)
        ]
        rows = rows_where([matched >= 0 for matched in (*first_matched, *all_matched)])
        total, first, first_areas, regression, classification, areas = [], [], [], [], [], []
        for row, target in enumerate(targets):
            positive = rows[row]
            boxes = target["boxes"][first_matched[row][positive]]
            first.append(self.box_losses(initial[row, positive], positions[positive], strides[positive], boxes))
            first_areas.append(box_area(boxes))

            positive = rows[len(targets) + row]
            boxes, focal = self.focal_losses(logits[row], all_matched[row], positive, target)
            regression.append(self.box_losses(refined[row, positive], positions[positive], strides[positive], boxes))
            total.append(focal.sum())
            classification.append(focal[positive])
            areas.append(box_area(boxes))
        starts = torch.cat(first)
        joined, classified, sizes = map(torch.cat, (regression, classification, areas))
        summed = torch.stack(total).sum()
        self.positives = PositiveLosses(joined.detach(), classified.detach(), sizes, summed.detach())
        count = self.normaliser(len(joined))
        return {
            "loss_classifier": summed / count,
            "loss_box_reg": reweighted(joined, sizes, self.small_below).sum() / count,
            "loss_box_init": INITIAL_WEIGHT
            * reweighted(starts, torch.cat(first_areas), self.small_below).sum()
            / self.normaliser(len(starts)),
        }

    def box_losses(self, points: Tensor, positions: Tensor, strides: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss [P] of point sets [P, 18] around positions [P, 2] (strides [P]) against objects [P, 4]."""
        boxes = place(moment_boxes(points, self.spread), positions, strides)
        unit = self.base * strides[:, None]
        return F.smooth_l1_loss(boxes / unit, wanted / unit, reduction="none", beta=BETA).sum(dim=1)

    def level_candidates(self, level: int, outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes [n, 4], scores [n] and classes [n] of a level's best positions."""
        logits, refined = (
            flatten_level(outputs[name], parts)[0]
            for name, parts in (("logits", self.classes), ("refined", 2 * POINTS))
        )
        scores, rows, classes = top_candidates(logits.sigmoid(), self.score_threshold, self.candidates)
        positions = level_positions(outputs["logits"], self.strides[level])[rows]
        strides = torch.full_like(positions[:, 0], self.strides[level])
        return place(moment_boxes(refined[rows], self.spread), positions, strides), scores, classes


def build_reppoints(spec: Spec, classes: int = 80, scales: Scales | None = None) -> DenseDetector:
    """Build the RepPoints of a specification, under torchvision's detection contract.

    Differs from the paper: towers without group normalisation and L1's smooth form with beta 0.11, as MSFM's printed
    parameter count and MMDetection have them.
    """
    size = spec.preset.model
    backbone = build_pyramid(spec, scales, "c5")
    head = RepPointsHead(backbone.out_channels, classes, size, spec.preset.factor)
    return assemble_dense(spec, backbone, head)
