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


def match_positions(positions: Tensor, strides: Tensor, boxes: Tensor, base: float) -> Tensor:
    """Assign each object to the nearest position of the level that fits its size (RepPoints, section 4.2).

    An object of width w and height h belongs to the level of stride 2^l, where l is the mean of log2(w / base) and
    log2(h / base), rounded down. Distances along x are divided by w and along y by h. A position that is nearest to
    several objects goes to the nearest of them, and the others get none.

    Args:
        positions: [L, 2], x and y of all levels.
        strides: [L], powers of two.
        boxes: [G, 4], xyxy objects of one image.
        base: side in strides of the objects that a level takes first, 4 on the papers' 800-pixel scale.

    Returns:
        [L], index of the object of every position, -1 where there is none.
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
