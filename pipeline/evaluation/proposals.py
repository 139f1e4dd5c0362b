"""Recall of class-agnostic object proposals (SNIP, table 3)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pipeline.evaluation.bootstrap import image_counts
from pipeline.evaluation.matching import find_overlaps, match, places
from pipeline.evaluation.protocol import IOU_THRESHOLDS

SIZES = (0, 25, 50, 100, None)  # px, borders of the columns of SNIP's table 3, and of what lies above them

SizeRanges = dict[str, tuple[float, float | None]]


def scaled_size_ranges(factor: float = 1.0) -> SizeRanges:
    """Return SNIP's ranges of sqrt(w * h) in px, times `factor`, by names in unscaled px: `0_25`, ..., `100_up`."""
    return {
        f"{low}_{'up' if high is None else high}": (low * factor, None if high is None else high * factor)
        for low, high in pairwise(SIZES)
    }


@dataclass(frozen=True)
class RecallCounts:
    """Numbers of objects, and of those found, in every image and range; the first range has all objects."""

    found: dict[int, np.ndarray]  # by limit, int [images, R, T]
    total: np.ndarray  # int [images, R]
    names: tuple[str, ...]  # [R - 1]


def count_recall(
    gt_boxes: Sequence[Any],
    proposals: Sequence[Any],
    limits: Sequence[int] = (300, 900),
    size_ranges: SizeRanges | None = None,
) -> RecallCounts:
    """Match proposals to objects image by image, with categories left aside.

    In order of score, each proposal takes the free object of the highest IoU at or above the threshold.

    Args:
        gt_boxes: [n, 4] an image, half-open xyxy in px (tensors or arrays), without crowds.
        proposals: [m, 4] an image, best score first.
        limits: how many proposals an image count.
        size_ranges: name -> (lo, hi), lo <= sqrt(w * h) < hi, so that each object falls in one; None: SNIP's.

    Raises:
        ValueError: different numbers of images, or boxes that are not [n, 4].
    """
    if len(gt_boxes) != len(proposals):
        raise ValueError(f"Each image needs boxes and proposals, got {len(gt_boxes)} and {len(proposals)} images.")
    ranges = scaled_size_ranges() if size_ranges is None else size_ranges
    bounds = [(0.0, None), *ranges.values()]
    parts = [[_xywh(boxes) for boxes in images] for images in (gt_boxes, proposals)]
    objects, candidates = (np.concatenate([np.zeros((0, 4)), *boxes]) for boxes in parts)
    of_object, of_candidate = (np.repeat(np.arange(len(boxes)), [len(own) for own in boxes]) for boxes in parts)
    size = np.sqrt(objects[:, 2] * objects[:, 3])
    outside = np.stack([(size < low) | (size >= (math.inf if high is None else high)) for low, high in bounds], axis=1)
    crowd = np.zeros(len(objects), dtype=bool)
    overlaps = find_overlaps(candidates, of_candidate, objects, of_object, crowd, IOU_THRESHOLDS[0])
    matches = match(overlaps, of_candidate, outside, crowd, IOU_THRESHOLDS)
    hits, rank = matches.matched & ~matches.ignored, places(of_candidate)[matches.rows]
    total = np.zeros((len(gt_boxes), len(bounds)), dtype=np.int64)
    np.add.at(total, of_object, ~outside)
    found = {limit: np.zeros((*total.shape, len(IOU_THRESHOLDS)), dtype=np.int64) for limit in limits}
    for limit, counts in found.items():  # greedy in order of score: a limit is a prefix
        np.add.at(counts, of_candidate[matches.rows[rank < limit]], hits[rank < limit])
    return RecallCounts(found, total, tuple(ranges))


def recall_of(counts: RecallCounts, limit: int, weights: np.ndarray | None = None) -> dict[str, float | None]:
    """Return recall over all objects at one limit, with each image taken as often as `weights` [I] say.

    Its names are `ar` (mean over IoU .50:.05:.95), `ar50`, `ar75`, and `recall50_<name>` and `ar_<name>` for each
    range; fractions of 1, `None` where there is no object.
    """
    taken = np.ones(len(counts.total), dtype=np.int64) if weights is None else weights
    total = taken @ counts.total
    found = np.tensordot(taken, counts.found[limit], axes=1)
    recall = [(found[r] / total[r]).tolist() if total[r] else None for r in range(len(total))]
    whole = recall[0]
    summary = {
        "ar": sum(whole) / len(whole) if whole else None,
        "ar50": whole[0] if whole else None,
        "ar75": whole[5] if whole else None,
    }
    for name, part in zip(counts.names, recall[1:], strict=True):
        summary[f"recall50_{name}"] = part[0] if part else None
    for name, part in zip(counts.names, recall[1:], strict=True):
        summary[f"ar_{name}"] = sum(part) / len(part) if part else None
    return summary


def bootstrap_recall(counts: RecallCounts, limit: int, draws: int = 200, seed: int = 0) -> dict[str, list]:
    """Return the recalls at one limit for each of the `draws` samples of images that `bootstrap_ap` draws."""
    replicates = [recall_of(counts, limit, taken) for taken in image_counts(len(counts.total), draws, seed)]
    return {name: [replicate[name] for replicate in replicates] for name in recall_of(counts, limit)}


def _xywh(boxes: Any) -> np.ndarray:
    corners = np.asarray(boxes, dtype=np.float64)
    if corners.size == 0:
        return np.zeros((0, 4))
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise ValueError(f"boxes must be [n, 4], got {list(corners.shape)}.")
    return np.ascontiguousarray(np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1))
