"""Point sets of RepPoints: the boxes that they stand for, and the positions that objects are assigned to."""

import math

import torch
from torch import Tensor

POINTS = 9
MOMENT_GRADIENT = 0.01  # of the learnt spread, relative to other parameters


def moment_boxes(points: Tensor, spread: Tensor) -> Tensor:
    """Return the boxes [..., 4] (xyxy) that point sets stand for, in the points' unit (RepPoints, section 3.2).

    A box is centred on the mean of its points. Half its width is their standard deviation along x times exp(spread[0]),
    and half its height is their standard deviation along y times exp(spread[1]).

    Args:
        points: [..., 2n], (y, x) point by point, in the order of a deformable convolution's offsets.
        spread: [2], learnt; its gradient is scaled by `MOMENT_GRADIENT`.

    Differs from the paper, which does not say how: the standard deviation divides by n - 1, as in the published code.
    """
    pairs = points.unflatten(-1, (-1, 2)).flip(-1)  # [..., n, 2], (x, y)
    spread = MOMENT_GRADIENT * spread + (1 - MOMENT_GRADIENT) * spread.detach()
    centre = pairs.mean(dim=-2)
    # A norm, unlike a root, has a finite gradient where all points coincide.
    deviation = torch.linalg.vector_norm(pairs - centre.unsqueeze(-2), dim=-2) / math.sqrt(pairs.shape[-2] - 1)
    half = deviation * spread.exp()
    return torch.cat([centre - half, centre + half], dim=-1)


def place(boxes: Tensor, positions: Tensor, strides: Tensor) -> Tensor:
    """Return boxes in network-input pixels from boxes [..., L, 4] relative to positions [L, 2], in strides [L]."""
    return positions.repeat(1, 2) + boxes * strides[:, None]


def match_positions(shapes: list[tuple[int, int]], strides: list[int], boxes: Tensor, base: float) -> Tensor:
    """Assign each object to the nearest position of the level that fits its size (RepPoints, section 4.2).

    An object of width w and height h belongs to the level of stride 2^l, where l is the mean of log2(w / base) and
    log2(h / base), rounded down. Distances along x are divided by w and along y by h. A position that is nearest to
    several objects goes to the nearest of them, and the others get none.

    Args:
        shapes: (rows, columns) of every level; its position (column x, row y) lies at (x, y) times the stride.
        strides: powers of two, in rising order.
        boxes: [G, 4], xyxy objects of one image.
        base: side in strides of the objects that a level takes first, 4 on the papers' 800-pixel scale.

    Returns:
        [L], index of the object of every position, row by row and level by level; -1 where there is none.
    """
    length = sum(height * width for height, width in shapes)
    if not len(boxes):
        return torch.full((length,), -1, dtype=torch.int64, device=boxes.device)
    sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
    levels = [round(math.log2(stride)) for stride in strides]
    wanted = (sizes / base).log2().mean(dim=1).trunc().clamp(levels[0], levels[-1])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    nearest = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    distances, start = torch.zeros_like(centres[:, 0]), 0
    for level, stride, (height, width) in zip(levels, strides, shapes, strict=True):
        places = (centres / stride - 0.5).ceil()  # of two that are equally near, the first
        x, y = places[:, 0].clamp(0, width - 1), places[:, 1].clamp(0, height - 1)
        away = (torch.stack([x, y], dim=1) * stride - centres) / sizes
        own = wanted == level
        distances = away.norm(dim=1).where(own, distances)
        nearest = (start + y * width + x).long().where(own, nearest)
        start += height * width
    order = distances.argsort(stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    best = torch.full((length,), len(order), device=order.device).scatter_reduce(0, nearest, ranks, "amin")
    return torch.cat([order, order.new_full((1,), -1)])[best]
