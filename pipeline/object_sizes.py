"""Where small objects end and large ones begin on own data: COCO's lengths times the preset's factor, or its own.

What is scored by class and counted for a user goes by it. The tables of the papers keep COCO's lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import nan
from pathlib import Path
from typing import Any

from pipeline.data.manifest import MEDIUM_SIDE, SMALL_SIDE, load_split
from pipeline.errors import InputError
from pipeline.evaluation.protocol import UNBOUNDED, AreaRanges
from pipeline.preset import Preset

COCO, THIRDS = "coco", "thirds"
LONGEST = 1_000_000
NAMES = ("small", "medium", "large")


def sides(preset: Preset) -> tuple[float, float]:
    """Return below which side an object is small and from which it is large: square roots of areas in the files' px."""
    if preset.sizes != COCO:
        return preset.sizes
    return SMALL_SIDE * preset.pixel_factor, MEDIUM_SIDE * preset.pixel_factor


def area_ranges(preset: Preset) -> AreaRanges:
    """Return the ranges of areas (closed, px^2) of small, medium and large objects."""
    low, high = (side**2 for side in sides(preset))
    return {"small": (0.0, low), "medium": (low, high), "large": (high, UNBOUNDED)}


def read(text: str) -> str | tuple[float, float]:
    """Return what SIZES says: `coco`, `thirds`, or the two sides of `A,B`.

    Raises:
        InputError: any other word, or sides that are not positive and rising.
    """
    if text in (COCO, THIRDS):
        return text
    try:
        low, high = (float(word) for word in text.strip("[] ").split(","))
    except ValueError:
        low = high = nan
    if not 0 < low < high <= LONGEST:
        raise InputError(
            f"SIZES is {text!r}, but must be {COCO}, {THIRDS}, or two lengths A,B in pixels, 0 < A < B <= {LONGEST:,}: "
            "objects are small below A and large from B."
        )
    return low, high


def thirds(annotations: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the two sides that part some objects, crowds left out, into three as equal parts as they can.

    A side lies midway between two objects, so that none is on it. Objects of one size stay together.

    Raises:
        InputError: there are fewer than three sizes.
    """
    found = sorted(one["area"] ** 0.5 for one in annotations if not one["iscrowd"])
    ends = [place for place, (one, other) in enumerate(pairwise(found), start=1) if one < other]
    if len(ends) < 2:
        raise InputError(
            f"SIZES={THIRDS} needs objects of three sizes, but the {len(found)} to train on have "
            f"{len(ends) + bool(found)}; take SIZES={COCO}, or two lengths SIZES=A,B."
        )

    first = min(ends[:-1], key=lambda end: abs(end - len(found) / 3))
    second = min((end for end in ends if end > first), key=lambda end: abs(end - 2 * len(found) / 3))
    return midway(found[first - 1], found[first]), midway(found[second - 1], found[second])


def midway(low: float, high: float) -> float:
    """Return the middle of two lengths, to a hundredth of a pixel where that lies between them."""
    middle = (low + high) / 2
    return round(middle, 2) if low < round(middle, 2) < high else middle


def counts(annotations: Sequence[Mapping[str, Any]], preset: Preset) -> dict[str, int]:
    """Return how many objects are small, medium and large, crowds left out."""
    low, high = (side**2 for side in sides(preset))
    areas = [one["area"] for one in annotations if not one["iscrowd"]]
    small, large = sum(area < low for area in areas), sum(area >= high for area in areas)
    return dict(zip(NAMES, (small, len(areas) - small - large, large), strict=True))


def recounted(manifest: Mapping[str, Any], place: Path, preset: Preset) -> dict[str, Any]:
    """Return the manifest at a place with objects counted by a preset's own sizes, which it then names; else as it is.

    The file stays: trainings depend on it, and not on how objects are counted.
    """
    if preset.sizes == COCO:
        return dict(manifest)
    splits = {
        name: entry | counts(load_split(place, name)["annotations"], preset)
        for name, entry in manifest["splits"].items()
    }
    return manifest | {"splits": splits, "sizes": list(sides(preset))}


def sentence(preset: Preset) -> str:
    """Return where sizes end, for a page."""
    low, high = sides(preset)
    text = f"Small is below {low:.6g} px, large from {high:.6g} px (square root of the area) in the files' own pixels"
    return text + ("." if preset.sizes == COCO else ", not COCO's lengths, which DST's training keeps.")
