"""RoIAlign on the CPU: the sampling points of all levels as one weighted sum of feature rows."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def sampled_roi_align(
    maps: Sequence[Tensor], rois: Tensor, levels: Tensor, strides: Sequence[int], size: int, samples: int
) -> Tensor:
    """Return torchvision's `roi_align(..., aligned=True)` of every RoI on its own level, in fp32.

    That operator needs channels first and computes every point's place again for each channel; with its even slower
    backward pass it took a fifth of a small network's step. Here a point is four rows of features, channels last.

    Args:
        maps: features [N, C, H_l, W_l] of each level.
        rois: [R, 5], the image's row in the batch, then xyxy in network-input pixels.
        levels: [R], index into `maps`.
        strides: network-input pixels of a feature pixel on each level.
        size: bins along each axis.
        samples: points along each axis of a bin.

    Returns:
        Features [R, C, size, size].
    """
    channels, images = maps[0].shape[1], len(maps[0])
    rows = torch.cat([level.permute(0, 2, 3, 1).reshape(-1, channels) for level in maps]).float()
    heights, widths = (torch.tensor([level.shape[axis] for level in maps]) for axis in (2, 3))
    counts = heights * widths
    starts = torch.cumsum(counts * images, 0) - counts * images
    height, width = heights[levels], widths[levels]
    first = starts[levels] + rois[:, 0].long() * counts[levels]
    boxes = rois[:, 1:].float() / torch.tensor(strides, dtype=torch.float32)[levels, None] - 0.5
    ys, y_weights = taps(boxes[:, 1], boxes[:, 3], height, size, samples)
    xs, x_weights = taps(boxes[:, 0], boxes[:, 2], width, size, samples)
    ys = first[:, None, None] + ys * width[:, None, None]
    count = len(rois) * size**2
    places = (ys[:, :, None, :, None] + xs[:, None, :, None, :]).reshape(count, 4 * samples**2)
    weights = (y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :]).reshape(count, 4 * samples**2)
    out = F.embedding_bag(places, rows, per_sample_weights=weights, mode="sum")
    return out.view(len(rois), size, size, channels).permute(0, 3, 1, 2)


def taps(low: Tensor, high: Tensor, length: Tensor, size: int, samples: int) -> tuple[Tensor, Tensor]:
    """Return the feature pixels [R, size, 2 * samples] that the bins read along one axis, and their weights.

    Args:
        low, high: [R], the RoI's edges in feature pixels, where pixel i has its centre at i.
        length: [R], feature pixels along this axis.
    """
    steps = (torch.arange(size * samples) + 0.5) / (size * samples)
    points = low[:, None] + (high - low)[:, None] * steps
    last = (length - 1)[:, None]
    inside = (points >= -1) & (points <= length[:, None])  # a point further out counts as zero
    points = torch.minimum(points.clamp(min=0), last.float())
    below = points.floor()
    share = points - below
    pixel = below.long()
    pixels = torch.stack([pixel, torch.minimum(pixel + 1, last)], dim=-1)
    weights = torch.stack([1 - share, share], dim=-1) * inside[..., None] / samples
    return pixels.view(-1, size, 2 * samples), weights.view(-1, size, 2 * samples)
