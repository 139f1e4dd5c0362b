"""Anchors of RetinaNet: their shapes, and the object that each is matched to."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.heads.overlap import pairwise_iou

BACKGROUND, IGNORED = -1, -2
CHUNK = 128  # objects matched at a time, to bound the memory of crowded images


def cell_anchors(sides: Sequence[float], ratios: Sequence[float]) -> list[list[float]]:
    """Return the anchors (x1, y1, x2, y2) around the origin, ratio by ratio, in network-input pixels.

    Args:
        sides: square roots of the anchors' areas, in network-input pixels.
        ratios: height / width.

    Differs from torchvision, which rounds to pixels: that would deform the small anchors of small presets.
    """
    anchors = []
    for ratio in ratios:
        for side in sides:
            width, height = side / ratio**0.5, side * ratio**0.5
            anchors.append([-width / 2, -height / 2, width / 2, height / 2])
    return anchors


def match_anchors(
    anchors: Tensor,
    boxes: Tensor,
    positive: float = 0.5,
    negative: float = 0.4,
    valid: Tensor | None = None,
    ignore_iou: float = 1.0,
) -> Tensor:
    """Match each anchor to the object that it overlaps most (RetinaNet, section 4).

    Anchors that tie for an object's best IoU, however low, are positive too, but are matched to the object that they
    overlap most, as in the published implementations.

    Args:
        anchors: [A, 4], xyxy.
        boxes: [G, 4], xyxy objects of one image.
        positive: IoU from which an anchor is positive.
        negative: IoU below which an anchor is background.
        valid: [G], bool, the objects that anchors are matched to; None stands for all.
        ignore_iou: an anchor whose IoU with another object is higher is ignored, even a positive one.

    Returns:
        [A], the index of an object, `BACKGROUND` or `IGNORED`.

    Differs from torchvision's Matcher: an object that overlaps no anchor gets none, where the Matcher gives it all.
    """
    best = anchors.new_zeros(len(anchors))
    matched = torch.zeros(len(anchors), dtype=torch.int64, device=anchors.device)
    kept, avoided = (torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device) for _ in range(2))
    for first in range(0, len(boxes), CHUNK):
        overlap = pairwise_iou(boxes[first : first + CHUNK], anchors)  # [g, A]
        if valid is not None:
            own = valid[first : first + CHUNK, None]
            avoided |= ((overlap > ignore_iou) & ~own).any(dim=0)
            overlap = overlap.where(own, 0.0)
        values, indices = overlap.max(dim=0)
        better = values > best
        best, matched = torch.where(better, values, best), torch.where(better, indices + first, matched)
        highest = overlap.amax(dim=1, keepdim=True)
        kept |= ((overlap == highest) & (overlap > 0)).any(dim=0)
    found = matched.masked_fill(best < positive, IGNORED).masked_fill(best < negative, BACKGROUND)
    return torch.where(kept, matched, found).masked_fill(avoided, IGNORED)
