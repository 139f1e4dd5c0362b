"""Position-sensitive RoI pooling: every bin of a RoI reads maps of its own (R-FCN), plain, bilinear or deformable."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import ps_roi_align, ps_roi_pool

Pooling = Literal["plain", "bilinear", "deformable"]
REACH = 0.1  # an offset of 1 moves a bin by this share of the RoI's sides (gamma in Deformable ConvNets, section 2.2)


def pool_bins(maps: Tensor, rois: list[Tensor], bins: int, scale: float) -> Tensor:
    """Return means over bins whose borders are rounded to whole positions (R-FCN, equation 1).

    Args:
        maps: [N, D bins bins, H, W]; channel (d bins + y) bins + x holds output d of the bin in row y and column x.
        rois: [R_i, 4] for every image, xyxy in network-input pixels.
        bins: along each axis.
        scale: positions per pixel, 1 / stride.

    Returns:
        [R, D, bins, bins] for the RoIs of all images in order.
    """
    numbers = torch.cat([torch.full_like(boxes[:, :1], row) for row, boxes in enumerate(rois)])
    counts = [len(boxes) for boxes in rois]
    return PoolBins.apply(maps, torch.cat([numbers, torch.cat(rois)], dim=1), counts, bins, scale)


class PoolBins(torch.autograd.Function):
    """torchvision's `ps_roi_pool` with a correct gradient.

    On the CPU, torchvision's sends a bin's gradient to a bin of the same size in the upper left corner of the map.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, rois: Tensor, counts: list[int], bins: int, scale: float) -> Tensor:
        """Return [R, D, bins, bins] of RoIs [R, 5], whose first column is the image's number; images have `counts`."""
        ctx.save_for_backward(rois)
        ctx.shape, ctx.counts, ctx.bins, ctx.scale = maps.shape, counts, bins, scale
        return ps_roi_pool(maps, rois, bins, scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Return the gradient [N, D bins bins, H, W]: all positions of a bin get equal shares."""
        (rois,) = ctx.saved_tensors
        images, _, height, width = ctx.shape
        columns = bin_shares(rois[:, 1], rois[:, 3], width, ctx.bins, ctx.scale)  # [R, bins, W]
        rows = bin_shares(rois[:, 2], rois[:, 4], height, ctx.bins, ctx.scale)
        found = grad.new_empty(images, grad.shape[1], ctx.bins, ctx.bins, height, width)
        for image, (own, across, down) in enumerate(
            zip(*(part.split(ctx.counts) for part in (grad, columns, rows)), strict=True)
        ):
            for y in range(ctx.bins):
                spread = torch.einsum("rdx,rh->rdxh", own[:, :, y], down[:, y])
                found[image, :, y] = torch.einsum("rdxh,rxw->dxhw", spread, across)
        return found.view(ctx.shape), None, None, None, None


def bin_shares(start: Tensor, end: Tensor, length: int, bins: int, scale: float) -> Tensor:
    """Return the shares [R, bins, length] of positions in the bins of RoIs from `start` to `end` [R] along one axis.

    Borders are rounded exactly as in `ps_roi_pool`; an empty bin has no shares.
    """
    start, end = ((side * scale).abs().add(0.5).floor() * side.sign() for side in (start, end))  # halves go outwards
    size = (end - start).clamp(min=1)[:, None] / bins
    number = torch.arange(bins, device=start.device, dtype=start.dtype)
    first = ((number * size).floor() + start[:, None]).clamp(0, length - 1)
    last = (((number + 1) * size).ceil() + start[:, None]).clamp(0, length - 1)
    place = torch.arange(length, device=start.device)
    inside = (place >= first[..., None]) & (place < last[..., None])
    return inside / (last - first).clamp(min=1)[..., None]


def sample_bins(maps: Tensor, rois: list[Tensor], bins: int, scale: float, samples: int) -> Tensor:
    """Return means of `samples` x `samples` bilinear samples in each bin (SNIP, section 4); otherwise as `pool_bins`.

    Samples lie at the centres of a bin's equal parts. The value of a position lies at its centre.
    """
    return ps_roi_align(maps, rois, bins, scale, samples)


def shift_bins(
    maps: Tensor, offsets: Tensor, rois: list[Tensor], bins: int, scale: float, samples: int, reach: float = REACH
) -> Tensor:
    """Return `sample_bins` with bins moved by offsets (Deformable ConvNets, section 2.2).

    Args:
        maps: [N, D bins bins, H, W], as `pool_bins`.
        offsets: [R, 2 T, bins, bins], x then y of each of T fields; T is D, or 1 where all outputs share one field.
        rois: [R_i, 4] for every image, xyxy in network-input pixels.
        bins: along each axis.
        scale: positions per pixel, 1 / stride.
        samples: along each axis of a bin.
        reach: an offset of 1 moves a bin by this share of the RoI's width or height.

    Raises:
        ValueError: maps and offsets whose channels do not fit together.
    """
    outputs, rest = divmod(maps.shape[1], bins**2)
    fields = offsets.shape[1] // 2
    if rest or offsets.shape[1] % 2 or fields not in (1, outputs):
        raise ValueError(
            f"maps need D * {bins}^2 channels and offsets 2 or 2 D, got {maps.shape[1]} and {offsets.shape[1]}."
        )
    if offsets.shape[0] != sum(map(len, rois)):
        raise ValueError(f"offsets need a row for every RoI, got {offsets.shape[0]} of {sum(map(len, rois))}.")
    moved = offsets.unflatten(1, (fields, 2)).split([len(boxes) for boxes in rois])
    parts = [
        _shift_image(image, move * reach, boxes * scale, samples)
        for image, move, boxes in zip(maps, moved, rois, strict=True)
    ]
    return torch.cat(parts)


def _shift_image(maps: Tensor, moves: Tensor, rois: Tensor, samples: int) -> Tensor:
    """Return `shift_bins` of one image, [R, D, k, k].

    Args:
        maps: [D k k, H, W].
        moves: [R, T, 2, k, k], x and y in sides of the RoI.
        rois: [R, 4] in positions.
        samples: along each axis of a bin.
    """
    count, fields, _, bins, _ = moves.shape
    height, width = maps.shape[-2:]
    outputs = len(maps) // bins**2
    places = (torch.arange(bins * samples, device=maps.device) + 0.5) / (bins * samples)  # shares of the RoI's sides
    places = places.to(maps.dtype).view(bins, samples)
    sides = (rois[:, 2:] - rois[:, :2]).view(count, 1, 2, 1, 1, 1)
    corner = (rois[:, :2] - 0.5).view(count, 1, 2, 1, 1, 1)
    moves = moves.unsqueeze(-1)  # [R, T, 2, k, k, 1]
    x = corner[:, :, 0] + sides[:, :, 0] * (places.view(1, 1, 1, bins, samples) + moves[:, :, 0])  # [R, T, k, k, s]
    y = corner[:, :, 1] + sides[:, :, 1] * (places.view(1, 1, bins, 1, samples) + moves[:, :, 1])
    x, y = torch.broadcast_tensors(x.unsqueeze(-2), y.unsqueeze(-1))  # [R, T, k, k, s (y), s (x)]
    inside = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)  # beyond, a sample is zero, as in RoIAlign
    grid = torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], dim=-1)

    def by_bin(values: Tensor, *tail: int) -> Tensor:
        """Permute values [R, T, k, k, s, s, ...] to [D k k, R, s s, ...]."""
        values = values.permute(1, 2, 3, 0, *range(4, values.dim()))
        values = values.expand(outputs, *values.shape[1:]) if fields == 1 else values
        return values.reshape(maps.shape[0], count, samples**2, *tail)

    # Every map is an image of its own here, so a bin's samples read that bin's map only.
    found = F.grid_sample(maps.unsqueeze(1), by_bin(grid, 2), padding_mode="border", align_corners=True).squeeze(1)
    means = (found * by_bin(inside)).mean(dim=-1)  # [D k k, R]
    return means.view(outputs, bins, bins, count).permute(3, 0, 1, 2)
