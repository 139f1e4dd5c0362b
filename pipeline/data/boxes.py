"""Boxes: what their four numbers are, whether they fit their pictures, and their part inside.

Annotation tools write boxes in several conventions, and a file does not say which. How a wrong one is seen
stands in `conventions`.
"""

import math
from collections.abc import Callable

import numpy as np

MIN_SIDE = 0.01  # pixels; the size of thinner boxes is lost in float32
ROUNDING = 0.05  # pixels; COCO rounds x and width to 0.01 each, so a box may pass the border slightly
SLACK, SLACK_SHARE = 2.0, 0.01  # pixels, and share of a side, by which hand-drawn boxes leave their pictures
SHARE_ENDS = (-0.001, 1.001)  # of numbers that are shares of a picture's sides


def _corner(a: np.ndarray) -> np.ndarray:
    return np.concatenate([a[:, :2], a[:, 2:] - a[:, :2]], axis=1)


def _centre(a: np.ndarray) -> np.ndarray:
    return np.concatenate([a[:, :2] - a[:, 2:] / 2, a[:, 2:]], axis=1)


# name: (meaning, numbers [n, 4] to x, y, width, height); of two that fit equally well the first is named
PIXELS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "xywh": ("x, y, width, height", lambda a: a),
    "xyxy": ("the corners x1, y1, x2, y2", _corner),
    "cxcywh": ("centre x, centre y, width, height", _centre),
}
NORMALISED = {"normalised": "xywh", "normalised_xyxy": "xyxy", "normalised_cxcywh": "cxcywh"}
CONVENTIONS = (*PIXELS, *NORMALISED)


def meaning(convention: str) -> str:
    """Return a convention in words."""
    if convention in NORMALISED:
        return f"{PIXELS[NORMALISED[convention]][0]} as shares of the picture"
    return f"{PIXELS[convention][0]} in pixels"


def to_xywh(numbers: np.ndarray, sizes: np.ndarray, convention: str, first: int = 0) -> np.ndarray:
    """Return boxes as x, y, width, height in pixels.

    Args:
        numbers: [n, 4], as the file has them.
        sizes: [n, 2], (width, height) of each box's picture.
        convention: a name of CONVENTIONS.
        first: number of the first pixel. From 1 on, corners include the last pixel, as in PASCAL VOC.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # numbers that are not finite are counted later
        if convention in NORMALISED:
            return PIXELS[NORMALISED[convention]][1](numbers) * np.tile(sizes, (1, 2))
        boxes = PIXELS[convention][1](numbers)
        if first:
            boxes = boxes - [first, first, 0, 0] + ([0, 0, first, first] if convention == "xyxy" else [0, 0, 0, 0])
        return boxes


def misfits(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return which boxes (x, y, w, h) have no size, are no larger than a pixel at the corner, or leave their pictures.

    [n, 4] and [n, 2] to bool [n]; boxes may leave by SLACK and SLACK_SHARE.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        slack = SLACK + SLACK_SHARE * sizes
        fits = np.isfinite(boxes).all(1) & (boxes[:, 2:] >= MIN_SIDE).all(1) & (high > SHARE_ENDS[1]).any(1)
        return ~(fits & (low >= -slack).all(1) & (high <= sizes + slack).all(1))


def clip_box(box: list[float], width: int, height: int) -> tuple[list[float] | None, str | None]:
    """Return the clipped box `[x, y, w, h]` or None, and None, `clipped` or the reason why the box is left out."""
    x, y, w, h = box
    if not all(math.isfinite(value) for value in box) or w < MIN_SIDE or h < MIN_SIDE:
        return None, "degenerate_box"
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
    if right - left < MIN_SIDE or bottom - top < MIN_SIDE:
        return None, "box_outside"
    if (left, top) == (x, y) and x + w <= width and y + h <= height:
        return box, None
    cut = max(left - x, top - y, x + w - right, y + h - bottom)
    return [left, top, right - left, bottom - top], "clipped" if cut > ROUNDING else None
