"""Areas of annotations: which cannot be square pixels of their objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.data.boxes import ROUNDING
from pipeline.data.segmentation import as_float

LEAST_SHARE = 1e-4  # of the box's area: a smaller one is in another unit
LEAST, LEAST_BOX = 1.0, 64.0  # square pixels: an object of a larger box has at least a pixel
BELIEVED = 0.5  # share of wrong areas above which none of a file is believed
SEVERAL = 3  # areas that together show a unit
OF_MASKS, OF_BOXES = 0.5, 0.1  # middle shares of their masks' and boxes' areas below which they are in another unit
ALIKE, OF_ALIKE = 0.01, 0.45  # spread of shares that are one share; below it one is a unit's, above it may be a shape's


def unusable(areas: Sequence[Any], boxes: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return which areas are wrong: not positive numbers, above the box's, or far below it; a missing one is not.

    An area above the box's is often the picture's, and one far below it a share of the picture. Where most of a file
    are wrong, or the file's are in another unit, all are: the others fit by chance.

    Args:
        areas: n values as a file has them, None where there is none.
        boxes: [n, 4] x, y, width, height in pixels.
        masks: [n] areas of the objects' masks in square pixels, 0 where there is none.

    Returns:
        bool [n].
    """
    given = np.array([value is not None for value in areas], dtype=bool)
    numbers = np.array([as_float(value) if as_float(value) is not None else np.nan for value in areas], dtype=float)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        sides = boxes[:, 2:]
        box_areas, most = sides.prod(1), (sides + ROUNDING).prod(1)
        tiny = (numbers < LEAST_SHARE * box_areas) | ((numbers < LEAST) & (box_areas >= LEAST_BOX))
        wrong = given & ~(np.isfinite(numbers) & (numbers > 0) & ~(numbers > most) & ~tiny)
        shares = numbers / np.where(masks > 0, masks, box_areas)
    if given.any() and wrong[given].mean() > BELIEVED:
        return given
    right = given & ~wrong & np.isfinite(shares)
    return given if in_other_unit(shares[right & (masks > 0)], shares[right & (masks <= 0)]) else wrong


def in_other_unit(of_masks: np.ndarray, of_boxes: np.ndarray) -> bool:
    """Whether a file's areas are in another unit than square pixels, such as those of smaller copies of its pictures.

    An object may fill a small part of its box, but not most of a file; and not all of them the same part, unless they
    are one shape, such as circles.

    Args:
        of_masks: areas of the objects with masks, as shares of the masks'.
        of_boxes: of the others, as shares of their boxes'.
    """
    if len(of_masks) >= SEVERAL:
        return bool(np.median(of_masks) < OF_MASKS)
    if len(of_boxes) < SEVERAL:
        return False
    low, middle, high = np.quantile(of_boxes, (0.05, 0.5, 0.95))
    return bool(middle < OF_BOXES or (middle < OF_ALIKE and high - low < ALIKE * middle))
