"""Geometry of Grid R-CNN: the 3x3 points of a box, their target heatmaps, and boxes decoded from heatmaps.

Heatmaps cover a box with twice a RoI's sides around its centre, so that points outside the RoI can be found. Each point
has a window of half the sides of that map of `MAP_SIZE` pixels, in which it lies for any RoI that overlaps its object
well (Grid R-CNN Plus, section 2.1). Points are numbered column by column: 0 is the box's top-left corner, 1 the middle
of its left side, 8 the bottom-right corner.
"""

import torch
from torch import Tensor

GRID = 3  # points along an axis
POINTS = GRID**2
MAP_SIZE = 56  # pixels along an axis of the map over a RoI's doubled box
WINDOW = MAP_SIZE // 2
RADIUS = 1  # of a point's positive pixels


def window_origins(device: torch.device | None = None) -> Tensor:
    """Return the corner (x, y) [9, 2] of each point's window in the map of the doubled box."""
    starts = torch.arange(GRID, device=device) * (MAP_SIZE - WINDOW) // (GRID - 1)
    return torch.cartesian_prod(starts, starts)


def doubled(boxes: Tensor) -> Tensor:
    """Return boxes [R, 4] with twice the sides around the same centres; they may leave the image."""
    margin = (boxes[:, 2:] - boxes[:, :2]) / 2
    return torch.cat([boxes[:, :2] - margin, boxes[:, 2:] + margin], dim=1)


def grid_points(boxes: Tensor) -> Tensor:
    """Return the points (x, y) [R, 9, 2] of boxes [R, 4]."""
    steps = torch.linspace(0, 1, GRID, device=boxes.device, dtype=boxes.dtype)
    shares = torch.cartesian_prod(steps, steps)
    return boxes[:, None, :2] * (1 - shares) + boxes[:, None, 2:] * shares


def grid_targets(rois: Tensor, objects: Tensor, least_side: float) -> Tensor:
    """Return the target heatmaps [R, 9, 28, 28] of RoIs: 1 on each point and its 4 neighbours, else 0.

    Args:
        rois: [R, 4], xyxy in network-input pixels.
        objects: [R, 4], the box that each RoI should find.
        least_side: RoIs whose doubled box has a side of at most this many pixels get empty maps.
    """
    frames = doubled(rois)
    sides = frames[:, 2:] - frames[:, :2]
    pixels = ((grid_points(objects) - frames[:, None, :2]) / sides[:, None] * MAP_SIZE).long()
    along = torch.arange(WINDOW, device=rois.device)
    # [R, 9, 2, 28]: distance of each window column (0) and row (1) from the point's pixel
    distances = along + window_origins(rois.device)[None, :, :, None] - pixels[..., None]
    squares = distances[:, :, 0, None, :] ** 2 + distances[:, :, 1, :, None] ** 2
    large = (sides > least_side).all(dim=1)
    return ((squares <= RADIUS**2) & large[:, None, None, None]).to(rois.dtype)


def decode_boxes(heatmaps: Tensor, rois: Tensor) -> Tensor:
    """Return boxes [R, 4] from heatmap logits [R, 9, 28, 28] of RoIs [R, 4] (Grid R-CNN, section 3.2).

    A point lies at the centre of its map's highest pixel. A side is the mean of its three points' coordinates, weighted
    by those pixels' probabilities.
    """
    scores, positions = heatmaps.flatten(2).max(dim=2)  # [R, 9]
    pixels = torch.stack([positions % WINDOW, positions // WINDOW], dim=2) + window_origins(rois.device)
    frames = doubled(rois)
    points = frames[:, None, :2] + (pixels + 0.5) / MAP_SIZE * (frames[:, 2:] - frames[:, :2])[:, None]
    weights = scores.sigmoid().unflatten(1, (GRID, GRID))  # columns, rows
    columns, rows = points[..., 0].unflatten(1, (GRID, GRID)), points[..., 1].unflatten(1, (GRID, GRID))

    def voted(values: Tensor, votes: Tensor) -> Tensor:
        return (values * votes).sum(dim=1) / votes.sum(dim=1)

    left, right = (voted(columns[:, side], weights[:, side]) for side in (0, -1))
    top, bottom = (voted(rows[:, :, side], weights[:, :, side]) for side in (0, -1))
    return torch.stack([left, top, right, bottom], dim=1)
