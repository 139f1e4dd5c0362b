"""Valid ranges in detectors without proposals: objects out of range do not train (SNIP, section 6.1).

SNIP states rules for the RPN and for a classifier of RoIs. Heads that predict at every anchor or point use those of the
RPN: an object out of range has no positives, and its anchors or points are ignored instead of being background.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.models.heads.anchors import IGNORED, match_anchors


def match_anchors_in_range(anchors: Tensor, target: dict[str, Tensor], ignore_iou: float | None) -> Tensor:
    """Match anchors [A, 4] to an image's objects in range, as `match_anchors` does.

    Then every anchor whose IoU with an object out of range exceeds `ignore_iou` is ignored, even a positive one. This
    is the order of rules in SNIPER's RPN.

    Args:
        anchors: [A, 4], xyxy.
        target: `boxes` [G, 4] and, where ranges count, `valid_head` [G], which tells the objects in range.
        ignore_iou: None where ranges do not count.

    Returns:
        [A], the index of one of the image's objects, `BACKGROUND` or `IGNORED`.
    """
    boxes = target["boxes"]
    if ignore_iou is None:
        return match_anchors(anchors, boxes)
    return match_anchors(anchors, boxes, valid=validity(target), ignore_iou=ignore_iou)


def assign_points_in_range(
    assign: Callable[[Tensor], Tensor], target: dict[str, Tensor], ignore_iou: float | None
) -> Tensor:
    """Assign points to an image's objects, and ignore points of objects out of range.

    Points have no IoU with objects, so the rule reads their assignment. A small object in range keeps its points where
    it lies on a large object out of range.

    Args:
        assign: maps boxes [G, 4] to the object [L] of every point, `BACKGROUND` where there is none.
        target: `boxes` [G, 4] and, where ranges count, `valid_head` [G].
        ignore_iou: None where ranges do not count; other values all mean the same.
    """
    assigned = assign(target["boxes"])
    if ignore_iou is None:
        return assigned
    valid = validity(target)
    # The additional entry is that of the background (-1), and exists where the image has no object.
    kept = torch.cat([valid, valid.new_ones(1)])[assigned]
    return assigned.masked_fill(~kept, IGNORED)


def validity(target: dict[str, Tensor]) -> Tensor:
    """Return `valid_head` [n], bool, of a target; raise ValueError where it is missing."""
    if "valid_head" not in target:
        raise ValueError(f"Valid ranges need target['valid_head'], which objects are in range; found {sorted(target)}.")
    return target["valid_head"].bool()
