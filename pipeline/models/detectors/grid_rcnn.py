"""Grid R-CNN: the box head only classifies, and a grid head locates the box by heatmaps of its points."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.ops import clip_boxes_to_image

from pipeline.models.backbones.build import Scales
from pipeline.models.contract import Detections, Levels, Losses, Shapes, Targets
from pipeline.models.heads.grid_head import GridHead
from pipeline.models.heads.grid_points import GRID, decode_boxes, grid_targets
from pipeline.models.heads.reweighting import reweighted
from pipeline.models.heads.roi_heads import RoIHeads, SampledRoIs
from pipeline.models.heads.roi_pool import MultiLevelRoIAlign
from pipeline.models.heads.rows import rows_where
from pipeline.models.heads.two_stage import FPN_RESOLUTION, TwoStageDetector, assemble_fpn, fpn_pool, roi_arguments
from pipeline.models.necks import build_fpn
from pipeline.spec import Spec

RESOLUTION = 14  # of the grid head's RoI features
ROIS_AN_IMAGE = 96  # on which the grid head trains at most: MMDetection has 192 per GPU of two images
LOSS_WEIGHT = 15.0
JITTER = 0.15  # of a RoI's centre and sides, as a share of its sides
NMS = 0.3


class ClassPredictor(nn.Module):
    """Class scores with a background slot, and zero deltas: boxes stay where the RoIs are."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(channels, classes + 1)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.zeros_(self.cls_score.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map RoI features [R, C] to logits [R, K + 1] in fp32 and zero deltas [R, 1, 4]."""
        logits = self.cls_score(x).float()
        return logits, logits.new_zeros(len(x), 1, 4)


class GridRoIHeads(RoIHeads):
    """RoI heads whose boxes come from the grid head, which runs after NMS on the RoIs (Grid R-CNN, section 3.2).

    Multiply-adds count the grid head on as many RoIs as an image has detections, because it runs on no others.

    Attributes:
        least_side: network-input pixels; RoIs whose doubled box has a shorter side train on empty heatmaps.
    """

    least_side: float = GRID

    def __init__(self, *args: Any, grid_pool: MultiLevelRoIAlign, grid_head: GridHead, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.grid_pool, self.grid_head = grid_pool, grid_head

    def sampled_losses(
        self, features: Levels, sampled: SampledRoIs, image_shapes: Shapes, targets: Targets
    ) -> tuple[Losses, Tensor]:
        """Return `loss_classifier` and `loss_grid`, and box deltas of zero.

        Keep as `positives` the RoIs that the grid head trained on, with the grid loss as their regression loss.
        """
        losses, deltas = super().sampled_losses(features, sampled, image_shapes, targets)
        counts = [len(positive) for positive in sampled.positive]
        chosen = choose(counts, ROIS_AN_IMAGE * len(counts), deltas.device)
        ends = [0, *accumulate(counts)]
        inside = rows_where([(chosen >= start) & (chosen < end) for start, end in pairwise(ends)])
        rois, objects = [], []
        for row, target in enumerate(targets):
            positive = sampled.positive[row][chosen[inside[row]] - ends[row]]
            rois.append(jittered(sampled.boxes[row][positive], image_shapes[row]))
            objects.append(target["boxes"][sampled.matched[row][positive]])
        grid_loss = self.grid_loss(features, rois, torch.cat(objects))
        areas = self.positives.areas[chosen]
        self.positives = self.positives._replace(
            regression=grid_loss.detach(), classification=self.positives.classification[chosen], areas=areas
        )
        loss = reweighted(grid_loss, areas, self.small_below).sum() / self.normaliser(len(chosen))
        return {"loss_classifier": losses["loss_classifier"], "loss_grid": loss}, deltas

    def grid_loss(self, features: Levels, rois: list[Tensor], objects: Tensor) -> Tensor:
        """Return the weighted loss [P] of every image's RoIs [P_i, 4], which should find objects [P, 4].

        It sums the mean binary cross-entropy over points and pixels of the fused and of the unfused heatmaps.
        """
        wanted = grid_targets(torch.cat(rois), objects, self.least_side)
        total = wanted.new_zeros(len(wanted))
        for heatmaps in self.grid_head(self.grid_pool(features, rois, [])):
            loss = F.binary_cross_entropy_with_logits(heatmaps, wanted, reduction="none")
            total = total + LOSS_WEIGHT * loss.mean(dim=(1, 2, 3))
        return total

    def detect(self, features: Levels, proposals: list[Tensor], image_shapes: Shapes) -> Detections:
        """Return boxes [D, 4], labels [D] and scores [D] of every image; the score is that of the RoI."""
        results = super().detect(features, proposals, image_shapes)
        rois = [found["boxes"] for found in results]
        heatmaps, _ = self.grid_head(self.grid_pool(features, rois, []))
        by_image = heatmaps.split([len(boxes) for boxes in rois])
        for found, maps, shape in zip(results, by_image, image_shapes, strict=True):
            found["boxes"] = clip_boxes_to_image(decode_boxes(maps, found["boxes"]), shape)
        return results

    def keep_candidates(self) -> None:
        """Change nothing: grids are computed for what suppression leaves."""

    def dense_parts(self, images: Tensor, channels: int, proposals: int) -> None:
        """Run the parts whose multiply-adds count."""
        super().dense_parts(images, channels, proposals)
        rois = min(proposals, self.detections_per_img)
        self.grid_head(torch.empty(rois, channels, *self.grid_pool.output_size, device=images.device))


def build_grid_rcnn(spec: Spec, classes: int = 80, scales: Scales | None = None) -> TwoStageDetector:
    """Build the Grid R-CNN of a specification; its contract is Faster R-CNN's.

    Differs from the paper, as MMDetection's does: a last NMS at 0.3 with the preset's score threshold (0.05, there
    0.03), and the papers' 1x schedules where Grid R-CNN's own has 25 epochs.
    """
    backbone = build_fpn(spec, scales)
    channels, width = backbone.out_channels, spec.preset.model.head_channels
    roi_heads = GridRoIHeads(
        fpn_pool(spec),
        TwoMLPHead(channels * FPN_RESOLUTION**2, width),
        ClassPredictor(width, classes),
        grid_pool=fpn_pool(spec, RESOLUTION),
        grid_head=GridHead(channels),
        **roi_arguments(spec) | {"nms_thresh": NMS},
    )
    roi_heads.least_side = GRID * spec.preset.factor
    return assemble_fpn(spec, backbone, roi_heads)


def choose(counts: list[int], limit: int, device: torch.device) -> Tensor:
    """Draw at most `limit` of the numbers below sum(counts) without repetition, in rising order."""
    total = sum(counts)
    if total <= limit:
        return torch.arange(total, device=device)
    return torch.randperm(total, device=device)[:limit].sort().values


def jittered(rois: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return RoIs [P, 4] with randomly changed centres and sides, clipped to an image (h, w).

    Otherwise the objects among the proposals would teach the grid head that a RoI's own corners are the answer.
    """
    moves = torch.empty_like(rois).uniform_(-JITTER, JITTER)
    sides = rois[:, 2:] - rois[:, :2]
    centres = (rois[:, :2] + rois[:, 2:]) / 2 + sides * moves[:, :2]
    half = sides * (1 + moves[:, 2:]) / 2
    return clip_boxes_to_image(torch.cat([centres - half, centres + half], dim=1), shape)
