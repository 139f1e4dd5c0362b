"""Resizing, flipping and cropping of an image with its target; every function returns new objects."""

import torch
import torch.nn.functional as F
from torch import Tensor

Target = dict[str, Tensor]
Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in whole pixels


def fitting_scale(height: int, width: int, short_side: float, long_side: float) -> float:
    """Return the largest factor with which the sides are at most `short_side` and `long_side`."""
    return min(short_side / min(height, width), long_side / max(height, width))


def scaled_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Return the whole-pixel size (height, width) of an image scaled by `scale`."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 [3, H, W] to float [3, h, w] in 0-1, bilinearly and with antialiasing where it shrinks.

    The result is the same for every memory layout; with a pixel's three values side by side, as a decoder leaves them,
    growing takes half the time.
    """
    if tuple(image.shape[-2:]) == tuple(size):
        return image.float().div_(255)
    shrinks = size[0] < image.shape[-2] or size[1] < image.shape[-1]
    # shrinking in that layout is no faster, and torch gets images of one column wrong
    image = image.contiguous() if shrinks else image.permute(1, 2, 0).contiguous()
    pixels = image[None].float().div_(255)
    pixels = pixels if shrinks else pixels.permute(0, 3, 1, 2)
    return F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=shrinks)[0]


def resize_boxes(boxes: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Scale xyxy boxes [n, 4] from an image of size `old` (h, w) to one of size `new`."""
    ratio_h, ratio_w = new[0] / old[0], new[1] / old[1]
    return boxes * boxes.new_tensor([ratio_w, ratio_h, ratio_w, ratio_h])


def flip(image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror an image [3, H, W] and its xyxy boxes [n, 4] left to right."""
    return image.flip(-1), flip_boxes(boxes, image.shape[-1])


def flip_boxes(boxes: Tensor, width: float) -> Tensor:
    """Mirror xyxy boxes [n, 4] left to right in an image of this width."""
    mirrored = boxes.clone()
    mirrored[:, 0], mirrored[:, 2] = width - boxes[:, 2], width - boxes[:, 0]
    return mirrored


def resample_masks(masks: Tensor, size: tuple[int, int], window: Window | None = None, flipped: bool = False) -> Tensor:
    """Resize masks uint8 [n, H, W] to a size, crop a window, and mirror it left to right: [n, h, w].

    A pixel takes the value at its centre (`nearest-exact`). Measured on ScaleWorld, this keeps objects in place: masks
    resized by 1.39, reduced to 28x28 and pasted back have an AP of 99.7 (with torch's `nearest` 77.7). Unlike smoothing
    and a threshold, it lets no small object vanish.
    """
    x1, y1, x2, y2 = window or (0, 0, size[1], size[0])
    rows, columns = centres(y1, y2, size[0], masks.shape[1]), centres(x1, x2, size[1], masks.shape[2])
    return masks.index_select(2, columns.flip(0) if flipped else columns).index_select(1, rows)


def centres(start: int, stop: int, length: int, source: int) -> Tensor:
    """Return the old pixels that contain the centres of new pixels `start` to `stop`, resizing `source` to `length`."""
    return (2 * torch.arange(start, stop) + 1) * source // (2 * length)


def crop(image: Tensor, boxes: Tensor, window: Window) -> tuple[Tensor, Tensor, Tensor]:
    """Cut a window (x1, y1, x2, y2) out of an image.

    Returns:
        The crop [3, h, w], the boxes [n, 4] clipped to it (some with no area), and the visible share [n] of each box.
    """
    x1, y1, x2, y2 = window
    shifted = boxes - boxes.new_tensor([x1, y1, x1, y1])
    clipped = shifted.clone()
    clipped[:, 0::2] = shifted[:, 0::2].clamp(0, x2 - x1)
    clipped[:, 1::2] = shifted[:, 1::2].clamp(0, y2 - y1)
    visible = areas(clipped) / areas(boxes).clamp(min=1e-9)
    return image[:, y1:y2, x1:x2], clipped, visible


def areas(boxes: Tensor) -> Tensor:
    """Return the areas [n] of half-open xyxy boxes [n, 4]."""
    return (boxes[:, 2] - boxes[:, 0]).clamp(min=0) * (boxes[:, 3] - boxes[:, 1]).clamp(min=0)


def sides(boxes: Tensor) -> Tensor:
    """Return sqrt(w h) [n] of xyxy boxes [n, 4], the size to which valid ranges refer."""
    return areas(boxes).sqrt()


def generator(*key: int) -> torch.Generator:
    """Return a random generator that depends only on the integers of `key`, so that no state must be saved."""
    from numpy.random import SeedSequence

    return torch.Generator().manual_seed(int(SeedSequence(key).generate_state(1, "uint64")[0] >> 1))
