"""COCO's greedy matching of detections to objects: all images and categories, thresholds and area ranges at once."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as masks


class Overlaps(NamedTuple):
    """The C pairs of a detection and an object of its image and category that could be matched at some threshold."""

    detection: np.ndarray  # int [C]
    truth: np.ndarray  # int [C]
    iou: np.ndarray  # [C]


class Matches(NamedTuple):
    """The M detections of some overlap; all others are unmatched."""

    rows: np.ndarray  # int [M], rising
    matched: np.ndarray  # bool [M, A, T]
    ignored: np.ndarray  # bool [M, A, T], whether matched to an object that the area range ignores


def find_overlaps(
    found: Any, group: np.ndarray, objects: Any, truth_group: np.ndarray, crowd: np.ndarray, least: float
) -> Overlaps:
    """Return the pairs of a detection and an object of one group whose COCO IoU is at least `least`.

    Args:
        found: D shapes, boxes x, y, w, h [D, 4] or a list of RLE masks.
        group: int [D], rising.
        objects: G shapes.
        truth_group: int [G], rising.
        crowd: bool [G]; a crowd's IoU is the intersection divided by the detection's area.
    """
    shared = np.intersect1d(group, truth_group)
    ends = [np.searchsorted(own, shared, side).tolist() for own in (group, truth_group) for side in ("left", "right")]
    detections, truths, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for d0, d1, g0, g1 in zip(*ends, strict=True):
        ious = masks.iou(found[d0:d1], objects[g0:g1], crowd[g0:g1])
        d, g = np.nonzero(ious >= least)
        detections.append(d + d0)
        truths.append(g + g0)
        values.append(ious[d, g])
    return Overlaps(np.concatenate(detections), np.concatenate(truths), np.concatenate(values))


def match(
    overlaps: Overlaps, group: np.ndarray, ignore: np.ndarray, crowd: np.ndarray, thresholds: np.ndarray
) -> Matches:
    """Match the detections of each image and category, best score first, as pycocotools' `evaluateImg` does.

    A detection takes the free object with the highest IoU at or above the threshold, and among equals the last. It
    takes an ignored one only where no other is left. A crowd stays free.

    Groups do not affect each other, so a round matches the next detection of every group.

    Args:
        overlaps: pairs of detections and objects, by number.
        group: int [D] from 0, image and category of each detection; it rises, and in a group the score falls.
        ignore: bool [G, A], the objects that an area range ignores (crowds included).
        crowd: bool [G].
        thresholds: [T].
    """
    areas, levels = ignore.shape[1], len(thresholds)
    rows, index = np.unique(overlaps.detection, return_inverse=True)
    turn = places(group[rows])
    order = np.lexsort((overlaps.truth, overlaps.iou, index, turn[index]))  # a detection's best object comes last
    index, truths, ious = index[order], overlaps.truth[order], overlaps.iou[order]
    rounds = np.searchsorted(turn[index], np.arange(turn.max(initial=-1) + 2))
    least = np.tile(np.minimum(thresholds, 1 - 1e-10), areas)
    regular = np.repeat(~ignore, levels, axis=1)  # [G, A T]
    free = np.ones_like(regular)
    matched = np.zeros((len(rows), areas * levels), dtype=bool)
    ignored = np.zeros_like(matched)
    for start, stop in pairwise(rounds):
        found, objects = index[start:stop], truths[start:stop]
        starts = np.flatnonzero(np.diff(found, prepend=-1))
        candidate = free[objects] & (ious[start:stop, None] >= least)
        place = np.arange(1, stop - start + 1, dtype=np.int32)[:, None]  # 0: none
        best = np.maximum.reduceat(place * (candidate & regular[objects]), starts)
        second = np.maximum.reduceat(place * candidate, starts)
        ignored[found[starts]] = (best == 0) & (second > 0)
        best = np.where(best > 0, best, second)
        matched[found[starts]] = best > 0
        row, column = np.nonzero(best)
        taken = objects[best[row, column] - 1]
        single = ~crowd[taken]
        free[taken[single], column[single]] = False
    shape = (len(rows), areas, levels)
    return Matches(rows, matched.reshape(shape), ignored.reshape(shape))


def places(group: np.ndarray) -> np.ndarray:
    """Return the place of each member [n] in its group, from 0; groups are numbered from 0 and rise."""
    first = np.flatnonzero(np.diff(group, prepend=-1))
    return np.arange(len(group)) - np.repeat(first, np.diff(first, append=len(group)))
