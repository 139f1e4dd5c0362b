"""Areas of annotations: which cannot be square pixels of their objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.data.boxes import ROUNDING
from pipeline.data.segmentation import as_float

LEAST_SHARE = 1e-4  # of the box's area: a smaller one is in another unit
LEAST, LEAST_BOX = 1.0, 64.0  # square pixels: an object of a larger box has at least a pixel
BELIEVED = 0.5  # share of wrong areas above which none of a file is believed


def unusable(areas: Sequence[Any], boxes: np.ndarray) -> np.ndarray:
    """Return which areas are wrong: not positive numbers, above the box's, or far below it; a missing one is not.

    An area above the box's is often the picture's, and one far below it a share of the picture. Where most of a file
    are wrong, all are: the others fit by chance.

    Args:
        areas: n values as a file has them, None where there is none.
        boxes: [n, 4] x, y, width, height in pixels.

    Returns:
        bool [n].
    """
    given = np.array([value is not None for value in areas], dtype=bool)
    numbers = np.array([as_float(value) if as_float(value) is not None else np.nan for value in areas], dtype=float)
    with np.errstate(invalid="ignore", over="ignore"):
        sides = boxes[:, 2:]
        box_areas, most = sides.prod(1), (sides + ROUNDING).prod(1)
        tiny = (numbers < LEAST_SHARE * box_areas) | ((numbers < LEAST) & (box_areas >= LEAST_BOX))
        wrong = given & ~(np.isfinite(numbers) & (numbers > 0) & ~(numbers > most) & ~tiny)
    return given if given.any() and wrong[given].mean() > BELIEVED else wrong
