"""Point sets of RepPoints: the boxes that they stand for, and which position starts from which object."""

from __future__ import annotations

import math

import torch
from torch import Tensor

POINTS = 9
MOMENT_GRADIENT = 0.01  # of the learnt spread, relative to other parameters


def moment_boxes(points: Tensor, spread: Tensor) -> Tensor:
    """Return the boxes [..., 4] (xyxy) that point sets stand for, in the points' own unit (RepPoints, section 3.2).

    A box is centred on its points' mean; half its width is their standard deviation along x times exp(spread[0]), half
    its height that along y times exp(spread[1]).

    Args:
        points: [..., 2n], (y, x) of one point after the other, as deformable convolutions order offsets.
        spread: [2], learnt; its gradient is scaled by `MOMENT_GRADIENT`.

    Differs from the paper, which does not say which: the standard deviation is that over n - 1 points, as published.
    """
    pairs = points.unflatten(-1, (-1, 2)).flip(-1)  # [..., n, 2], (x, y)
    spread = MOMENT_GRADIENT * spread + (1 - MOMENT_GRADIENT) * spread.detach()
    centre = pairs.mean(dim=-2)
    # A norm, unlike a root, has a finite gradient where all points coincide.
    deviation = torch.linalg.vector_norm(pairs - centre.unsqueeze(-2), dim=-2) / math.sqrt(pairs.shape[-2] - 1)
    half = deviation * spread.exp()
    return torch.cat([centre - half, centre + half], dim=-1)


def place(boxes: Tensor, positions: Tensor, strides: Tensor) -> Tensor:
    """Return boxes [..., L, 4] in network-input pixels from those around positions [L, 2], in units of strides [L]."""
    return positions.repeat(1, 2) + boxes * strides[:, None]


def match_positions(positions: Tensor, strides: Tensor, boxes: Tensor, base: float) -> Tensor:
    """Give each object the one nearest position of the level that suits its size (RepPoints, section 4.2).

    An object of width w and height h belongs to the level of stride 2^l with l the whole part of the mean of
    log2(w / base) and log2(h / base). Distances are those of x over w and of y over h; a position that is the nearest
    of several objects goes to the nearest of them, and the others get none.

    Args:
        positions: [L, 2], x and y of all levels.
        strides: [L], powers of two.
        boxes: [G, 4], xyxy objects of one image.
        base: side in strides of the objects that a level takes first, 4 on the papers' 800-pixel scale.

    Returns:
        [L], the object of every position, -1 where there is none.
    """
    if not len(boxes):
        return torch.full((len(positions),), -1, dtype=torch.int64, device=positions.device)
    sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
    levels = strides.log2().round()
    wanted = (sizes / base).log2().mean(dim=1).trunc().clamp(levels.min(), levels.max())
    nearest = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    distances = torch.full((len(boxes),), torch.inf, device=boxes.device)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    for level in levels.unique():
        rows, candidates = torch.where(wanted == level)[0], torch.where(levels == level)[0]
        if len(rows):
            away = (positions[candidates] - centres[rows, None]) / sizes[rows, None]  # [g, L_l, 2]
            distances[rows], index = away.norm(dim=2).min(dim=1)
            nearest[rows] = candidates[index]
    order = distances.argsort(stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    best = torch.full((len(positions),), len(order), device=order.device).scatter_reduce(0, nearest, ranks, "amin")
    return torch.cat([order, order.new_tensor([-1])])[best]
