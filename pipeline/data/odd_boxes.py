"""Boxes that look like slips of a labeller's hand: of a pixel, or far larger than others of their class.

They are kept and only remarked on. Where more than a few of a class are that large, its sizes vary so much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from pipeline.data.exclusions import shown
from pipeline.data.verification_page import table
from pipeline.verbatim import verbatim

PIXEL = 1.0  # longest short side of a box of a pixel
TIMES = 5.0  # a class's median side, above which a box is odd
FEW = 0.05  # of a class: more boxes that large are its spread
ENOUGH = 10  # boxes below which a class has no median to speak of
EXAMPLES = 3


def odd_boxes(split: Mapping[str, Any]) -> Iterator[tuple[str, int, list[str]]]:
    """Give what is odd about some boxes of a verified split: what, how many, examples as `file: x, y, w, h`."""
    files = {image["id"]: image["file_name"] for image in split["images"]}
    objects = [one for one in split["annotations"] if not one["iscrowd"]]

    def row(what: str, found: list[dict]) -> tuple[str, int, list[str]]:
        places = [(files[one["image_id"]], ", ".join(f"{side:g}" for side in one["bbox"])) for one in found[:EXAMPLES]]
        return what, len(found), [f"{name}: {box}" for name, box in places]

    tiny = [one for one in objects if min(one["bbox"][2:]) <= PIXEL]
    if tiny:
        yield row("boxes of a pixel in width or height", tiny)
    for category in split["categories"]:
        own = [one for one in objects if one["category_id"] == category["id"]]
        if len(own) < ENOUGH:
            continue
        middle = median(side(one) for one in own)
        large = sorted((one for one in own if side(one) >= TIMES * middle), key=side, reverse=True)
        if 0 < len(large) <= FEW * len(own):
            times = f"{TIMES:g} times their class's median side ({middle:.0f} px)"
            what = f"{shown(category['name'])}: boxes of {times} or more"
            yield row(what, large)


def side(annotation: Mapping[str, Any]) -> float:
    """Return the square root of a box's area."""
    return (annotation["bbox"][2] * annotation["bbox"][3]) ** 0.5


def odd_section(splits: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the section of the page on odd boxes of some splits, nothing without any."""
    rows = [(name, *found) for name, split in splits.items() for found in odd_boxes(split)]
    if not rows:
        return ""
    lines = ["## Boxes to look at", "", "They are kept and trained on; look whether their labels are right.", ""]
    cells = [[name, verbatim(what), verbatim("; ".join(where)), str(count)] for name, what, count, where in rows]
    lines += table(["split", "what", "examples (x, y, width, height)", "count"], cells, numbers_from=3)
    return "\n".join(lines) + "\n"
