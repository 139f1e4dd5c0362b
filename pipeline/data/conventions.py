"""Whether a file's boxes are in the convention that they are read in, seen over the whole file.

Boxes of another convention leave their pictures or have no size. Those of small objects fit their pictures in several;
then their polygons tell, or corners that are whole numbers in one only, or that none leaves its picture in one.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.data.boxes import CONVENTIONS, MIN_SIDE, meaning, misfits, to_xywh
from pipeline.data.exclusions import shown
from pipeline.errors import InputError

MANY = 0.1  # share of boxes that do not fit from which on another convention is asked for
FEW = 0.05  # largest share that does not fit in a convention that is named
BETTER = 0.2  # and its largest part of the share that does not fit now
SEVERAL = 20  # boxes whose place is no chance
CENTRES = {"xywh": "cxcywh"}  # the convention that boxes of small objects fit in as well

LEAST = 3  # boxes that leave their pictures, or that have polygons, for a sign
STRAY, STRAY_PIXELS = 0.1, 0.5  # part of its side by which a box leaves its picture, and pixels
AROUND, AROUND_PIXELS = 0.25, 0.05  # part of its side by which a box may miss its polygon's border, and pixels
WHOLE = 0.02  # pixels by which whole numbers may be off after rounding
MOST, FEWEST = 0.95, 0.05  # shares of boxes that a sign is to hold for, and may hold for in the other convention


def check_convention(
    numbers: np.ndarray, sizes: np.ndarray, convention: str, first: int, place: str, names: Sequence[str]
) -> None:
    """Raise InputError where many boxes do not fit their pictures in a convention, and do in another.

    Args:
        numbers: [n, 4], as the file has them.
        sizes: [n, 2], (width, height) of each box's picture; of one that may be turned, twice the longer side.
        convention: in which they are read.
        first: number of the first pixel.
        place: names the file.
        names: of the n annotations.
    """
    if not len(numbers):
        return
    bad = misfits(to_xywh(numbers, sizes, convention, first), sizes)
    share = bad.mean()
    if share <= MANY:
        return
    boxes = {other: to_xywh(numbers, sizes, other, first) for other in CONVENTIONS if other != convention}
    others = {other: misfits(found, sizes).mean() for other, found in boxes.items()}
    best = min(others, key=others.get)  # the first of equals
    if others[best] > min(FEW, BETTER * share):
        return
    equal = [other for other in others if others[other] == others[best]]
    best = next((other for other in equal if sign(boxes[best], boxes[other], sizes)), best)
    equal = [other for other in equal if other != best and not sign(boxes[other], boxes[best], sizes)]
    also = f" (or `boxes: {equal[0]}`, {meaning(equal[0])}, which fits as well)" if equal else ""
    row = int(np.argmax(bad))
    example = f"{names[row]} is {shown(numbers[row].tolist())} in {sizes[row][0]:g}x{sizes[row][1]:g}"
    raise InputError(
        f"{place}: {bad.sum()} of {len(bad)} boxes do not fit their pictures as {meaning(convention)} ({example}), but "
        f"{round((1 - others[best]) * len(bad))} do as {meaning(best)}; if they are that, write `boxes: {best}` under "
        f"`data` of the preset (make compare: DATA='boxes={best}'){also}, else correct the file."
    )


def check_centres(
    numbers: np.ndarray, sizes: np.ndarray, convention: str, place: str, polygons: np.ndarray | None = None
) -> None:
    """Raise InputError where boxes that fit their pictures are centres with sizes by any sign; arguments as above.

    Args:
        polygons: [n, 4] x, y, width, height of the objects' polygons, NaN where there is none.
    """
    other = CENTRES.get(convention)
    if other is None or not len(numbers):
        return
    seen = sign(to_xywh(numbers, sizes, convention), to_xywh(numbers, sizes, other), sizes, polygons)
    if seen:
        raise InputError(
            f"{place}: the {len(numbers)} boxes fit their pictures as {meaning(convention)}, but only as "
            f"{meaning(other)} {seen}; write `boxes: {other}` under `data` of the preset (make compare: "
            f"DATA='boxes={other}') if they are that, else `boxes: {convention}`."
        )


def sign(boxes: np.ndarray, others: np.ndarray, sizes: np.ndarray, polygons: np.ndarray | None = None) -> str | None:
    """Return in words why the second reading of boxes is right and the first is not, None where nothing shows it.

    Args:
        boxes: [n, 4] x, y, width, height in pixels, by the first reading.
        others: by the second one.
        sizes: [n, 2], as in `check_convention`.
        polygons: as in `check_centres`.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        known = np.zeros(len(boxes), dtype=bool) if polygons is None else np.isfinite(polygons).all(1)
        if known.sum() >= LEAST:
            shares = [around(found[known], polygons[known]).mean() for found in (boxes, others)]
            if max(shares) > MOST:
                return "most lie around their polygons" if shares[0] < FEWEST else None
        odd, even, whole, whole_other = corners(boxes, others)
        if odd.sum() >= SEVERAL and whole_other[odd | even].mean() > MOST and whole[odd].mean() < FEWEST:
            return "their corners are whole numbers"
        leaving, leaving_other = strays(boxes, sizes).sum(), strays(others, sizes).sum()
        if leaving >= LEAST and leaving_other <= FEWEST * leaving:
            return f"do {leaving} of them not leave their pictures"
    return None


def around(boxes: np.ndarray, polygons: np.ndarray) -> np.ndarray:
    """Return which boxes lie around their polygons, both [n, 4] x, y, w, h."""
    far = AROUND * np.tile(polygons[:, 2:], (1, 2)) + AROUND_PIXELS
    ends = [np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1) for found in (boxes, polygons)]
    return (np.abs(ends[0] - ends[1]) <= far).all(1)


def corners(boxes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return, each [n, 2]: sides that are odd numbers, even ones, and corners that are whole ones by both readings."""
    sides = np.round(boxes[:, 2:])
    equal = (np.abs(boxes[:, 2:] - sides) < WHOLE) & (np.abs(others[:, 2:] - sides) < WHOLE) & (sides > 0)
    whole = [np.abs(found[:, :2] - np.round(found[:, :2])) < WHOLE for found in (boxes, others)]
    return equal & (sides % 2 == 1), equal & (sides % 2 == 0), *whole


def strays(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return which boxes leave their pictures by a part of themselves. [n, 4] x, y, w, h, and [n, 2]."""
    low, sides = boxes[:, :2], boxes[:, 2:]
    outside = np.maximum(-low, low + sides - sizes)
    return ((outside > np.maximum(STRAY * sides, STRAY_PIXELS)) & (sides >= MIN_SIDE)).any(1)


def in_one_quarter(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether many boxes all lie in the left upper quarter of their pictures: those of another scale do.

    Boxes in percent, or of smaller copies of the pictures, fit theirs and are wrong. [n, 4] x, y, w, h, and [n, 2].
    """
    return len(boxes) >= SEVERAL and bool((boxes[:, :2] + boxes[:, 2:] <= sizes / 2).all())
