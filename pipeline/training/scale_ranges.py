"""Valid ranges of an image pyramid: which objects, anchors and RoIs train at a resolution (SNIP, section 6.1).

Boxes are half-open xyxy, a box's size is sqrt(w h), and ranges (lo, hi) are closed; hi is None where there is no limit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.models.heads.overlap import pairwise_iou

Range = tuple[float, float | None]


def valid_objects(sizes: Tensor, valid_range: Range | tuple[Tensor, Tensor]) -> Tensor:
    """Return for sizes [n] whether they lie in a range, both in original pixels: bool [n] (SNIP, section 6.1).

    A range of tensors [] stays on its device, so that nothing waits for a GPU.
    """
    low, high = valid_range
    return (sizes >= low) & (sizes <= (math.inf if high is None else high))


def box_sizes(boxes: Tensor) -> Tensor:
    """Return sqrt(w h) [n] of boxes [n, 4]; 0 for a box of negative width or height."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1).sqrt()


def label_anchors_snip(
    anchors: Tensor,
    valid: Tensor,
    invalid: Tensor,
    image_size: tuple[int, int],
    positive_iou: float = 0.5,
    negative_iou: float = 0.4,
    ignore_iou: float = 0.3,
    border: float = 0,
    match_zero_iou: bool = True,
) -> Tensor:
    """Return labels [a] of the anchors: 1 object, 0 background, -1 ignored (SNIP, section 6.1; SNIPER's code).

    An anchor inside the image is 1 if its IoU with a valid object reaches `positive_iou` or is that object's best, 0 if
    its IoU with every valid object is below `negative_iou`, and else -1. Then every anchor, even a positive one, is set
    to -1 if its IoU with an invalid object exceeds `ignore_iou`.

    Args:
        anchors: [a, 4] in pixels of the network's input.
        valid: [v, 4], objects in the resolution's range.
        invalid: [i, 4], objects out of range.
        image_size: (h, w) of the network's input.
        border: pixels; anchors that reach further out of the image are -1.
        match_zero_iou: whether all anchors tie for an object that overlaps none of them, which makes the whole image
            positive, as in SNIPER's code; False leaves such an object without an anchor.

    The order of the rules and the defaults of both thresholds are SNIPER's; the paper's positives reach an IoU of 0.7
    (section 7.2), which its recipe passes.
    """
    anchors, valid, invalid = (boxes.reshape(-1, 4) for boxes in (anchors, valid, invalid))
    height, width = image_size
    inside = (anchors[:, :2] >= -border).all(1) & (anchors[:, 2] <= width + border) & (anchors[:, 3] <= height + border)
    in_range = torch.arange(len(valid) + len(invalid), device=anchors.device) < len(valid)
    labels = torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
    labels[inside] = label_anchors(
        anchors[inside], torch.cat([valid, invalid]), in_range, positive_iou, negative_iou, ignore_iou, match_zero_iou
    )
    return labels


def label_anchors(
    anchors: Tensor,
    boxes: Tensor,
    valid: Tensor,
    positive_iou: float,
    negative_iou: float,
    ignore_iou: float,
    match_zero_iou: bool = False,
) -> Tensor:
    """Return labels [a] of anchors, as `label_anchors_snip` does where all lie inside, without waiting for a GPU.

    Args:
        anchors: [a, 4] in pixels of the network's input.
        boxes: [g, 4], all objects.
        valid: [g], bool, which of them are in the resolution's range.
        positive_iou, negative_iou, ignore_iou, match_zero_iou: as there.
    """
    if not len(boxes) or not len(anchors):
        return torch.zeros(len(anchors), dtype=torch.int64, device=anchors.device)
    valid = valid[:, None]
    overlaps = pairwise_iou(boxes.double(), anchors.double()).nan_to_num(0.0)  # [g, a]; two boxes without area have 0
    own = overlaps.where(valid, 0.0)
    best, tops = own.amax(dim=0), own.amax(dim=1, keepdim=True)
    tie = (own == tops) & valid
    if not match_zero_iou:
        tie &= tops > 0
    labels = torch.full_like(best, -1, dtype=torch.int64).masked_fill(best < negative_iou, 0)
    labels = labels.masked_fill((best >= positive_iou) | tie.any(dim=0), 1)
    return labels.masked_fill(((overlaps > ignore_iou) & ~valid).any(dim=0), -1)


def roi_takes_part(
    rois: Tensor,
    labels: Tensor,
    matched: Tensor,
    target: dict[str, Tensor],
    valid_range: Range | tuple[Tensor, Tensor],
    keep_matched_invalid: bool = False,
    key: str = "valid_head",
) -> Tensor:
    """Return which RoIs train the head at a resolution: bool [r] (SNIP, section 6.1).

    RoIs have been labelled by all objects. Left out are RoIs whose own size is out of range, and RoIs that are positive
    on an object out of range.

    Args:
        rois: [r, 4] in pixels of the network's input.
        labels: [r], above 0 for positives.
        matched: [r], index of the object that each RoI is matched to; meaningless except for positives.
        target: the image's target; `target[key]` [n] tells which of its objects are in range.
        valid_range: in pixels of the network's input.
        keep_matched_invalid: keep RoIs in range that are positive on an object out of range, as SNIPER does.
        key: the target's entry with the objects' validity.
    """
    takes_part = valid_objects(box_sizes(rois), valid_range)
    if keep_matched_invalid:
        return takes_part
    if key not in target:
        raise ValueError(f"SNIP needs target[{key!r}], which of the objects are in range; found {sorted(target)}.")
    valid = target[key].bool()
    if not len(valid):  # no object, no positive
        return takes_part
    # The background may be matched to any object: only positives are checked.
    return takes_part & ((labels <= 0) | valid[matched.clamp(0, len(valid) - 1)])
