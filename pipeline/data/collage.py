"""Collages of k images on a canvas of a regular image's size (DST, section 3.2.2), or k times as many small images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Target = dict[str, Any]
Interpolation = Literal["nearest", "nearest-exact", "bilinear", "bicubic", "area"]
MODES = ("nearest", "nearest-exact", "bilinear", "bicubic", "area")

# Tensors that describe the image, but whose length may equal the number of objects by chance.
PER_IMAGE = ("image_id", "size", "orig_size")


def make_collage(
    images: list[Tensor],
    targets: list[Target],
    k: int = 4,
    size_divisor: int = 32,
    canvas_size: tuple[int, int] | None = None,
    interpolation: Interpolation = "nearest",
    keep_aspect: bool = False,
    min_area: float = 0.0,
) -> tuple[Tensor, Target]:
    """Return one collage [C, H, W] of k images, row by row, and its target (DST, section 3.2.2).

    Boxes are scaled and shifted, never clipped. A target's entries for its objects (masks, flags) are kept, those for
    its image are not. The last row and column of cells take the pixels that remain.

    Args:
        images: k images [C, h, w], transformed as for regular training.
        targets: k dicts with `boxes` [n, 4] in xyxy pixels, `labels` [n] and, optionally, `masks` [n, h, w], `area` [n]
            and other tensors of length n.
        k: images in a collage, a square number.
        size_divisor: the canvas is the largest height and width of the images, rounded up to a multiple of this.
        canvas_size: (H, W) where the canvas must fit a larger batch; it is not rounded.
        interpolation: of the images. "nearest" takes pixel floor(i * in / out) in float32, also in masks; in other
            modes, masks take the value at the pixel's centre.
        keep_aspect: scale both axes by the smaller ratio and leave the right and bottom of the cell zero.
        min_area: objects whose box is smaller than this in the collage, in square pixels, are left out.

    Differs from the paper, which says that the aspect ratio is kept (`keep_aspect=True`): images are stretched to their
    cell, as in the authors' code.

    Raises:
        ValueError: k is no square number, or images and targets do not fit k or each other.
    """
    grid = grid_side(k)
    if len(images) != k or len(targets) != k:
        raise ValueError(f"A collage of k={k} needs k images and targets, found {len(images)} and {len(targets)}.")
    for index, (image, target) in enumerate(zip(images, targets, strict=True)):
        check_target(image, images[0], target, index)
    height, width = canvas_size or canvas_of([image.shape[1:] for image in images], size_divisor)
    if min(height, width) < grid:
        raise ValueError(f"The canvas must be at least {grid} pixels high and wide for k={k}, found {height}x{width}.")

    keys = object_keys(targets)
    new = images[0].new_zeros if keep_aspect else images[0].new_empty  # stretched images cover every pixel
    canvas = new(images[0].shape[0], height, width)
    placed = []
    for index, (image, target) in enumerate(zip(images, targets, strict=True)):
        top, cell_height = cell(index // grid, grid, height)
        left, cell_width = cell(index % grid, grid, width)
        size = fitted(image.shape[1:], (cell_height, cell_width)) if keep_aspect else (cell_height, cell_width)
        paste(image, canvas[:, top : top + size[0], left : left + size[1]], interpolation)
        objects = {key: target[key] for key in keys if key in target}
        placed.append(place(objects, image.shape[1:], size, (top, left), (height, width), interpolation))
    return canvas, join(placed, keys, min_area)


def grid_side(k: int) -> int:
    """Return sqrt(k); raise ValueError where k is no square number."""
    grid = math.isqrt(max(k, 0))
    if k < 1 or grid * grid != k:
        raise ValueError(f"k must be a square number, found {k}; use 1, 4 or 9.")
    return grid


def canvas_of(sizes: Sequence[Sequence[int]], size_divisor: int = 32) -> tuple[int, int]:
    """Return the largest height and width of image sizes (h, w), rounded up to multiples of the divisor."""
    height, width = (max(1, math.ceil(max(sides) / size_divisor)) * size_divisor for sides in zip(*sizes, strict=True))
    return height, width


def cell(position: int, grid: int, length: int) -> tuple[int, int]:
    """Return the start and length in pixels of one cell along an axis; the last cell takes the remainder."""
    side = length // grid
    return position * side, side if position < grid - 1 else length - position * side


def fitted(size: tuple[int, int], limit: tuple[int, int]) -> tuple[int, int]:
    """Return the largest (h, w) in whole pixels with the aspect ratio of `size` that fits in `limit`."""
    ratio = min(limit[0] / size[0], limit[1] / size[1])
    return tuple(min(bound, max(1, round(side * ratio))) for side, bound in zip(size, limit, strict=True))


def paste(image: Tensor, place: Tensor, interpolation: Interpolation) -> None:
    """Write an image [C, h, w], resized, into its place [C, H, W] of a canvas."""
    size = tuple(place.shape[1:])
    if interpolation == "nearest":
        # F.interpolate calls this and copies the result: 4 ms instead of 2.3 for 800x1333 pixels.
        torch.ops.aten.upsample_nearest2d.out(image[None], size, None, None, out=place[None])
    elif interpolation in MODES:
        aligned = {"align_corners": False} if interpolation in ("bilinear", "bicubic") else {}
        place.copy_(F.interpolate(image[None], size=size, mode=interpolation, **aligned)[0])
    else:
        raise ValueError(f"interpolation must be one of {', '.join(map(repr, MODES))}, found {interpolation!r}.")


def place(
    target: Target,
    source: tuple[int, int],
    size: tuple[int, int],
    corner: tuple[int, int],
    canvas: tuple[int, int],
    interpolation: Interpolation,
) -> Target:
    """Return a target's entries for its objects, scaled from `source` to `size` and moved to `corner`, all (h, w).

    Masks are sampled where an image of this interpolation is.
    """
    count = len(target["labels"])
    ratio_y, ratio_x = size[0] / source[0], size[1] / source[1]
    boxes = target["boxes"].reshape(-1, 4)
    boxes = boxes if boxes.is_floating_point() else boxes.float()
    moved = dict(target)
    moved["boxes"] = boxes * boxes.new_tensor([ratio_x, ratio_y, ratio_x, ratio_y]) + boxes.new_tensor(
        [corner[1], corner[0], corner[1], corner[0]]
    )
    if "area" in target:
        moved["area"] = target["area"] * (ratio_x * ratio_y)
    if "masks" in target:
        masks = target["masks"]
        moved["masks"] = masks.new_zeros(count, *canvas)
        if count:
            mode = "nearest" if interpolation == "nearest" else "nearest-exact"
            scaled = F.interpolate(masks.to(torch.uint8)[None], size=size, mode=mode)[0].to(masks.dtype)
            moved["masks"][:, corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]] = scaled
    return moved


def join(placed: list[Target], keys: list[str], min_area: float) -> Target:
    """Return the objects of all targets as one target, without those whose box is smaller than `min_area`."""
    joined = {key: torch.cat([target[key] for target in placed if key in target]) for key in keys}
    if min_area > 0:
        boxes = joined["boxes"]
        kept = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) >= min_area
        joined = {key: value[kept] for key, value in joined.items()}
    return joined


def object_keys(targets: list[Target]) -> list[str]:
    """Return the keys under which targets hold one row for each object.

    Raises:
        ValueError: a target with objects lacks an entry that others have for each of their objects.
    """
    keys = []
    for key in dict.fromkeys(key for target in targets for key in target):
        holders = [target for target in targets if key in target]
        if key in PER_IMAGE or not all(has_rows(target[key], len(target["labels"])) for target in holders):
            continue
        for index, target in enumerate(targets):
            if key not in target and len(target["labels"]):
                raise ValueError(
                    f"{key!r} must be given for all objects of a collage or none; target {index} lacks it."
                )
        keys.append(key)
    return keys


def has_rows(value: Any, count: int) -> bool:
    """Tell whether a target's entry is a tensor with `count` rows."""
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == count


def check_target(image: Tensor, first: Tensor, target: Target, index: int) -> None:
    """Raise ValueError where an image and its target do not belong together."""
    if image.dim() != 3 or image.shape[0] != first.shape[0] or 0 in image.shape:
        raise ValueError(
            f"Images must be [C, h, w] with pixels and the same C, found {list(image.shape)} for image {index}."
        )
    count = len(target["labels"])
    if target["boxes"].numel() != 4 * count or (count and target["boxes"].dim() != 2):
        found = list(target["boxes"].shape)
        raise ValueError(f"boxes must be [n, 4] for n={count} labels, found {found} for target {index}.")
    for key, shape in (("masks", (count, *image.shape[1:])), ("area", (count,))):
        if key in target and tuple(target[key].shape) != shape:
            found = list(target[key].shape)
            raise ValueError(f"{key} must be {list(shape)} for image {index}, found {found}.")
