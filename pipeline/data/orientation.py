"""Sizes of pictures, and whether those that are stored turned (EXIF) were annotated upright or as they are stored."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipeline.data.boxes import misfits
from pipeline.data.exclusions import Exclusions, shown

QUARTER = (5, 6, 7, 8)  # EXIF orientations that swap width and height


class Header(NamedTuple):
    """What a file's header says: stored (width, height), and EXIF orientation."""

    size: tuple[int, int]
    orientation: int


def room(entry: Mapping, header: Header | None) -> tuple[int, int]:
    """Return the (width, height) that boxes of a picture may fill: square where it may be turned."""
    size = entry["width"], entry["height"]
    return (max(size), max(size)) if header and header.orientation in QUARTER else size


def settle(
    images: Mapping[int, dict],
    headers: Mapping[int, Header],
    sized: set[int],
    boxes: Mapping[int, np.ndarray],
    rule: str,
    others: bool | None,
    exclusions: Exclusions,
) -> None:
    """Decide for each picture with an EXIF orientation, and give upright ones their turned size and `exif`, in place.

    A picture shows how it was annotated where its entry has the turned size, or where fewer boxes leave it one way than
    the other. Of those that do not, most of the file's others decide; without any, another split; without that, the
    entry's size is believed, and pictures without one are taken as upright, as viewers show them. All these are
    counted as assumed.

    Args:
        images: entries by id.
        headers: of the files, by id of the image, as far as they exist.
        sized: ids of the images whose entries have a size of their own.
        boxes: [n, 4] x, y, w, h in pixels, by id of the image.
        rule: `auto`, or what holds for all: `upright` or `stored`.
        others: whether another split's pictures were upright, None where there is none or they differ.
        exclusions: counts what was decided.
    """
    odd = {key: headers[key] for key in images if key in headers and headers[key].orientation != 1}
    seen = {key: upright(images[key], header, key in sized, boxes.get(key)) for key, header in odd.items()}
    votes = [vote for vote in seen.values() if vote is not None]
    for key, header in odd.items():
        image, vote = images[key], seen[key]
        name = f"image {key}: {shown(image['file_name'])}"
        if rule != "auto":
            vote = rule == "upright"
        elif vote is None:
            unseen = key not in sized if others is None else others
            vote = 2 * sum(votes) > len(votes) if votes else unseen
            exclusions.add("assumed_upright" if vote else "assumed_stored", name)
        if vote:
            if (image["width"], image["height"]) == header.size and header.orientation in QUARTER:
                image["width"], image["height"] = header.size[::-1]
            image["exif"] = True
        exclusions.add("exif_rotated" if vote else "exif_ignored", name)


def upright(image: Mapping, header: Header, sized: bool, boxes: np.ndarray | None) -> bool | None:
    """Return whether a picture was annotated upright, None where size and boxes fit both ways."""
    size, turned = header.size, header.size[::-1]
    if header.orientation not in QUARTER or size == turned:
        return None
    if sized and (image["width"], image["height"]) != size:
        return (image["width"], image["height"]) == turned
    if boxes is None or not len(boxes):
        return None
    bad = [int(misfits(boxes, np.tile([way], (len(boxes), 1)).astype(float)).sum()) for way in (size, turned)]
    return None if bad[0] == bad[1] else bad[1] < bad[0]


def all_upright(exclusions: Exclusions) -> bool | None:
    """Return whether all pictures of a split with an EXIF orientation were upright, None where some differ."""
    rotated, ignored = exclusions.counts["exif_rotated"], exclusions.counts["exif_ignored"]
    return None if bool(rotated) == bool(ignored) else bool(rotated)
