"""What detectors without proposals share: torchvision's contract around a pyramid and a head, and the final steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from pipeline.models.batching import Batching
from pipeline.models.contract import Detections, Levels, Losses, Targets
from pipeline.models.heads.detector import Detector
from pipeline.models.heads.reweighting import set_reweighting
from pipeline.models.heads.roi_heads import PositiveLosses
from pipeline.models.normaliser import Normaliser, local_normaliser
from pipeline.spec import Spec

Outputs = dict[str, list[Tensor]]  # each output by name, as a list of levels


class DenseHead(nn.Module):
    """Base of heads that predict at every position of every level.

    Attributes:
        positives: losses of the last training step's positive anchors or points, which DST's feedback reads.
        normaliser: maps the number of positives to the losses' divisor.
        ignore_iou: an anchor or box whose IoU with an object out of range is higher is ignored (SNIP); None where
            valid ranges do not count, and targets need not have them.
        small_below: box area in square network-input pixels below which an object's regression loss is amplified (DST,
            table 1); None amplifies none.
    """

    positives: PositiveLosses | None = None
    ignore_iou: float | None = None
    small_below: float | None = None
    normaliser: Normaliser = staticmethod(local_normaliser)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Map levels [N, C, H, W] to named outputs: lists of [N, ..., H, W] in fp32, even under autocast."""
        raise NotImplementedError

    def losses(self, outputs: Outputs, images: ImageList, targets: Targets) -> dict[str, Tensor]:
        """Return named losses and remember `positives`."""
        raise NotImplementedError

    def detect(self, outputs: Outputs, images: ImageList) -> Detections:
        """Return `boxes` [D, 4] (network-input pixels), `labels` [D] from 1 and `scores` [D] of every image."""
        raise NotImplementedError


class DenseDetector(Detector):
    """Backbone with a pyramid and a dense head."""

    def __init__(self, backbone: nn.Module, head: DenseHead, transform: Batching) -> None:
        super().__init__(backbone, transform)
        self.head = head

    @property
    def positives(self) -> PositiveLosses | None:
        """Losses of the last training step's positive anchors or points."""
        return self.head.positives

    def run(self, features: Levels, images: ImageList, targets: Targets | None) -> tuple[Detections, Losses]:
        """Return detections (evaluation) and named losses (training)."""
        outputs = self.head(list(features.values()))
        if self.training:
            return [], self.head.losses(outputs, images, targets)
        return self.head.detect(outputs, images), {}

    def dense_parts(self, images: Tensor, proposals: int) -> None:
        """Run the parts whose multiply-adds count on images [N, 3, H, W]; `proposals` is not read."""
        self.head(list(self.backbone(images).values()))


def assemble_dense(spec: Spec, backbone: nn.Module, head: DenseHead) -> DenseDetector:
    """Return the detector around a dense head, which reweights small objects' loss if the method does."""
    set_reweighting(head, spec)
    return DenseDetector(backbone, head, Batching(spec.preset.model.pad_divisor))


def flatten_level(output: Tensor, parts: int) -> Tensor:
    """Return one level's output [N, A parts, H, W] as [N, H W A, parts]: row by row, anchors innermost."""
    images, _, height, width = output.shape
    split = output.view(images, -1, parts, height, width)
    return split.permute(0, 3, 4, 1, 2).reshape(images, -1, parts)


def top_candidates(scores: Tensor, threshold: float, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return values, rows and classes [n] of at most `limit` scores [L, K] above a threshold, best first."""
    rows, classes = torch.where(scores > threshold)
    found = scores[rows, classes]
    best = found.topk(min(limit, len(found))).indices
    return found[best], rows[best], classes[best]
