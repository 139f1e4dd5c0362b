"""Check COCO segmentations (polygons and run-length codes) and compute their areas.

This is plain Python, because pycocotools reads malformed codes past their end and allocates by a polygon's length.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

EXTENTS = 2000  # polygons, about, whose extents are looked at
MOST_DIGITS = 12  # of 5 bits each: run lengths below 2^60


def as_float(value: Any) -> float | None:
    """Return a JSON number as a float, infinite for an integer that is too large; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def check_segmentation(value: Any, width: int, height: int) -> tuple[Any, float, int]:
    """Return the usable part of a segmentation or None, its area, and the number of dropped polygons.

    Polygons without area, or with points outside the image by more than its size, are dropped. The area of polygons is
    the sum of their shoelace areas in square pixels; the area of a run-length code is the number of its pixels.
    """
    if isinstance(value, dict):
        area = run_length_area(value, width, height)
        return (None, 0.0, 0) if area == 0 else ({"size": [height, width], "counts": value["counts"]}, float(area), 0)
    if not isinstance(value, list):
        return None, 0.0, 0
    kept, total = [], 0.0
    for polygon in value:
        area = polygon_area(polygon, width, height)
        if area > 0:
            kept.append([float(number) for number in polygon])
            total += area
    return kept or None, total, len(value) - len(kept)


def in_pixels(value: Any, width: int, height: int) -> Any:
    """Return a segmentation whose polygons may be shares of the picture with its points in pixels."""
    if not isinstance(value, list):
        return value
    parts = [[as_float(number) for number in part] if isinstance(part, list) else [None] for part in value]
    if any(number is None or not 0 <= number <= 1.001 for part in parts for number in part):
        return value
    return [[number * (width, height)[k % 2] for k, number in enumerate(part)] for part in parts]


def extents(values: Sequence[Any]) -> np.ndarray:
    """Return x, y, width, height [n, 4] of some segmentations in polygons, evenly chosen; NaN of all others."""
    found = np.full((len(values), 4), np.nan)
    for row in range(0, len(values), 1 + len(values) // EXTENTS):
        parts = values[row] if isinstance(values[row], list) else []
        whole = all(isinstance(part, list) and len(part) > 5 and len(part) % 2 == 0 for part in parts)
        points = [as_float(number) for part in parts for number in part] if whole else []
        if points and None not in points:
            xs, ys = points[0::2], points[1::2]
            found[row] = min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    return found


def polygon_area(polygon: Any, width: int, height: int) -> float:
    """Return the shoelace area of `[x1, y1, x2, y2, ...]`, or 0 where it is no polygon of this image."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return 0.0
    numbers = [as_float(value) for value in polygon]
    if any(number is None for number in numbers):
        return 0.0
    xs, ys = numbers[0::2], numbers[1::2]
    if not all(-width <= x <= 2 * width for x in xs) or not all(-height <= y <= 2 * height for y in ys):
        return 0.0
    following = zip(xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)
    return abs(sum(x * next_y - next_x * y for x, y, (next_x, next_y) in zip(xs, ys, following, strict=True))) / 2


def run_length_area(code: dict, width: int, height: int) -> int:
    """Return the number of pixels set in `{"size": [h, w], "counts": ...}`, or 0 where it is no code of this image."""
    counts = code.get("counts")
    if code.get("size") != [height, width]:
        return 0
    if isinstance(counts, str):
        counts = decode_counts(counts)
    if not isinstance(counts, list) or any(type(run) is not int or run < 0 for run in counts):
        return 0
    return sum(counts[1::2]) if sum(counts) == width * height else 0


def decode_counts(text: str) -> list[int] | None:
    """Return the run lengths of COCO's compressed code, or None where it is malformed.

    A number is groups of 5 bits, lowest first, in characters from 48 on. Bit 32 says that another group follows; bit 16
    of the last group is the sign. From the fourth run on, a number is the difference to the run two before (cocoapi,
    maskApi.c).
    """
    runs: list[int] = []
    number, digits = 0, 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or digits == MOST_DIGITS:
            return None
        number |= (group & 31) << (5 * digits)
        digits += 1
        if group & 32:
            continue
        if group & 16:
            number -= 1 << (5 * digits)
        runs.append(number + runs[-2] if len(runs) > 2 else number)
        number, digits = 0, 0
    return runs if digits == 0 else None
