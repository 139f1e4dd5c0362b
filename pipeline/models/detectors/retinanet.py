"""RetinaNet: anchors on P3 to P7, focal loss (Lin et al., Focal Loss for Dense Object Detection, 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from pipeline.models.backbones.build import Scales
from pipeline.models.heads.anchors import cell_anchors
from pipeline.models.heads.dense import DenseDetector, Outputs, assemble_dense, flatten_level, top_candidates
from pipeline.models.heads.focal import PRIOR, FocalHead, build_pyramid, level_positions, prediction, tower
from pipeline.models.heads.reweighting import reweighted
from pipeline.models.heads.roi_heads import PositiveLosses, box_area
from pipeline.models.heads.rows import rows_where
from pipeline.models.heads.sampling import BoxCoder
from pipeline.models.heads.valid_ranges import match_anchors_in_range
from pipeline.preset import ModelSize
from pipeline.spec import Spec

OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
RATIOS = (0.5, 1.0, 2.0)
BASE = 4  # side in strides of an octave's smallest anchors, on the papers' 800-pixel scale
BETA = 0.11  # of smooth L1, where the recipe asks for it
NMS_IOU = 0.5


class RetinaNetHead(FocalHead):
    """Class scores and box deltas of nine anchors at every position.

    Args:
        channels: of every level.
        classes: object categories, without the background.
        size: limits and thresholds of inference.
        factor: of lengths, relative to the papers' 800-pixel scale.
        box_loss: "l1", summed over coordinates (MMDetection), or "smooth_l1" with beta 0.11, averaged over coordinates
            (maskrcnn-benchmark, which DST trains with).
    """

    cells: Tensor  # [5, 9, 4]

    def __init__(self, channels: int, classes: int, size: ModelSize, factor: float, box_loss: str) -> None:
        super().__init__(classes, size, NMS_IOU)
        self.box_loss = box_loss
        self.classification, self.regression = tower(channels, size), tower(channels, size)
        anchors = len(OCTAVES) * len(RATIOS)
        self.logits = prediction(channels, anchors * classes, PRIOR)
        self.deltas = prediction(channels, anchors * 4)
        self.box_coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        sides = [BASE * stride * self.finer * factor for stride in self.strides]
        cells = [cell_anchors([side * octave for octave in OCTAVES], RATIOS) for side in sides]
        self.register_buffer("cells", torch.tensor(cells), persistent=False)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Map levels [N, C, H, W] to `logits` [N, 9K, H, W] and `deltas` [N, 36, H, W]."""
        return {
            "logits": [self.logits(self.classification(level)).float() for level in features],
            "deltas": [self.deltas(self.regression(level)).float() for level in features],
        }

    def anchors(self, level: int, output: Tensor) -> Tensor:
        """Return a level's anchors [H W 9, 4], centred on the positions' upper left pixels as in MMDetection."""
        centres = level_positions(output, self.strides[level]).repeat(1, 2)
        return (centres[:, None] + self.cells[level]).reshape(-1, 4)

    def losses(self, outputs: Outputs, images: ImageList, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the focal loss and the box regression loss, each divided by the batch's number of positive anchors."""
        logits = torch.cat([flatten_level(level, self.classes) for level in outputs["logits"]], dim=1)
        deltas = torch.cat([flatten_level(level, 4) for level in outputs["deltas"]], dim=1)
        anchors = torch.cat([self.anchors(level, output) for level, output in enumerate(outputs["logits"])])
        total, regression, classification, areas = [], [], [], []
        all_matched = [match_anchors_in_range(anchors, target, self.ignore_iou) for target in targets]
        positives = rows_where([matched >= 0 for matched in all_matched])
        for row, (target, matched, positive) in enumerate(zip(targets, all_matched, positives, strict=True)):
            boxes, focal = self.focal_losses(logits[row], matched, positive, target)
            total.append(focal.sum())
            classification.append(focal[positive])
            encoded = self.box_coder.encode_single(boxes, anchors[positive])
            regression.append(self.box_losses(deltas[row, positive], encoded))
            areas.append(box_area(boxes))
        joined, classified, sizes = map(torch.cat, (regression, classification, areas))
        summed = torch.stack(total).sum()
        self.positives = PositiveLosses(joined.detach(), classified.detach(), sizes, summed.detach())
        count = self.normaliser(len(joined))
        coordinates = 4 if self.box_loss == "smooth_l1" else 1
        return {
            "loss_classifier": summed / count,
            "loss_box_reg": reweighted(joined, sizes, self.small_below).sum() / (count * coordinates),
        }

    def box_losses(self, deltas: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss [P] of deltas [P, 4] against encoded objects [P, 4], summed over coordinates."""
        if self.box_loss == "l1":
            return F.l1_loss(deltas, wanted, reduction="none").sum(dim=1)
        return F.smooth_l1_loss(deltas, wanted, reduction="none", beta=BETA).sum(dim=1)

    def level_candidates(self, level: int, outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes [n, 4], scores [n] and classes [n] of a level's best anchors."""
        logits, deltas = flatten_level(outputs["logits"], self.classes)[0], flatten_level(outputs["deltas"], 4)[0]
        scores, rows, classes = top_candidates(logits.sigmoid(), self.score_threshold, self.candidates)
        boxes = self.box_coder.decode_single(deltas[rows], self.anchors(level, outputs["logits"])[rows])
        return boxes, scores, classes


def build_retinanet(spec: Spec, classes: int = 80, scales: Scales | None = None) -> DenseDetector:
    """Build the RetinaNet of a specification, under torchvision's detection contract.

    Differs from the paper: its smooth L1 is the recipe's box loss, which is L1 in MMDetection.
    """
    size = spec.preset.model
    backbone = build_pyramid(spec, scales, "c5")
    head = RetinaNetHead(backbone.out_channels, classes, size, spec.preset.factor, spec.recipe.box_loss)
    return assemble_dense(spec, backbone, head)
