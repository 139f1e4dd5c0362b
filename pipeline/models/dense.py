"""What detectors without proposals share: torchvision's contract around a pyramid and a head, and their last steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from pipeline.models.batching import Batching, check_targets
from pipeline.models.roi_heads import PositiveLosses

Outputs = dict[str, list[Tensor]]  # a named output is a list of levels


class DenseHead(nn.Module):
    """Base of heads that predict on every position of every level.

    Attributes:
        positives: losses of the last training step's positive anchors or points, which DST's feedback reads.
    """

    positives: PositiveLosses | None = None

    def forward(self, features: list[Tensor]) -> Outputs:
        """Map levels [N, C, H, W] to named outputs, lists of [N, ..., H, W] in fp32 whatever the autocast."""
        raise NotImplementedError

    def losses(self, outputs: Outputs, images: ImageList, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return named losses and remember `positives`."""
        raise NotImplementedError

    def detect(self, outputs: Outputs, images: ImageList) -> list[dict[str, Tensor]]:
        """Return `boxes` [D, 4] (network-input pixels), `labels` [D] from 1 and `scores` [D] of every image."""
        raise NotImplementedError


class DenseDetector(nn.Module):
    """Backbone with a pyramid and a dense head, under torchvision's detection contract."""

    def __init__(self, backbone: nn.Module, head: DenseHead, transform: Batching) -> None:
        super().__init__()
        self.backbone, self.head, self.transform = backbone, head, transform

    @property
    def positives(self) -> PositiveLosses | None:
        """Losses of the last training step's positive anchors or points."""
        return self.head.positives

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Return named losses (training) or a list of detections (evaluation) for images [3, H, W] in 0-1.

        Raises:
            ValueError: training without targets, or boxes that are not [n, 4].
        """
        if self.training:
            check_targets(targets)
        batch, targets = self.transform(images, targets)
        outputs = self.head(list(self.backbone(batch.tensors).values()))
        if self.training:
            return self.head.losses(outputs, batch, targets)
        sizes = [tuple(image.shape[-2:]) for image in images]
        return self.transform.postprocess(self.head.detect(outputs, batch), batch.image_sizes, sizes)

    def dense_parts(self, images: Tensor, proposals: int) -> None:
        """Run the parts whose multiply-adds count, on images [N, 3, H, W]; there are no proposals."""
        self.head(list(self.backbone(images).values()))


def flatten_level(output: Tensor, parts: int) -> Tensor:
    """Return one level's output [N, A parts, H, W] as [N, H W A, parts]: positions in row order, then anchors."""
    images, _, height, width = output.shape
    split = output.view(images, -1, parts, height, width)
    return split.permute(0, 3, 4, 1, 2).reshape(images, -1, parts)


def top_candidates(scores: Tensor, threshold: float, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, rows and classes [n] of at most `limit` entries of [L, K] above a threshold, best first."""
    rows, classes = torch.where(scores > threshold)
    found = scores[rows, classes]
    best = found.topk(min(limit, len(found))).indices
    return found[best], rows[best], classes[best]


def suppress(
    boxes: Tensor, scores: Tensor, classes: Tensor, shape: tuple[int, int], iou: float, limit: int
) -> dict[str, Tensor]:
    """Clip boxes [n, 4] to an image (h, w), apply NMS class by class and keep the best `limit`; labels count from 1.

    Boxes outside the image, which the batch's padding can give, go.
    """
    boxes = clip_boxes_to_image(boxes, shape)
    inside = remove_small_boxes(boxes, min_size=1e-2)
    boxes, scores, classes = boxes[inside], scores[inside], classes[inside]
    kept = batched_nms(boxes, scores, classes, iou)[:limit]
    return {"boxes": boxes[kept], "labels": classes[kept] + 1, "scores": scores[kept]}
