"""Overlap of every box of one set with every box of another."""

import torch
from torch import Tensor

BLOCK = 1 << 18  # overlaps computed at a time, so that they stay in a processor's cache


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU [N, M] of boxes [N, 4] and [M, 4], xyxy in the same units.

    The result equals torchvision's `box_iou` bit for bit. That function keeps x and y in a last dimension of size 2;
    with one plane for each, a processor needs a fraction of the time, which the many objects of collages require.
    """
    rows = max(1, len(first) if first.is_cuda else BLOCK // max(1, len(second)))
    left, top, right, bottom = second.t().contiguous().unbind(0)  # [M]
    areas = (right - left) * (bottom - top)
    overlaps = first.new_empty(len(first), len(second))
    for boxes, out in zip(first.split(rows), overlaps.split(rows), strict=True):
        x1, y1, x2, y2 = boxes.t().contiguous()[..., None].unbind(0)  # [n, 1]
        width = torch.minimum(x2, right).sub_(torch.maximum(x1, left)).clamp_(min=0)
        height = torch.minimum(y2, bottom).sub_(torch.maximum(y1, top)).clamp_(min=0)
        shared = width.mul_(height)
        torch.div(shared, ((x2 - x1) * (y2 - y1) + areas).sub_(shared), out=out)
    return overlaps
