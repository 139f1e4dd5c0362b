"""Paired bootstrap of AP over images: the APs that other draws of validation images would give."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.coco import (
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    RECALL_THRESHOLDS,
    AreaRanges,
    all_area_ranges,
)
from pipeline.evaluation.inputs import pairwise_iou, read_detections, read_ground_truth
from pipeline.evaluation.matching import match_image


@dataclass(frozen=True)
class MatchTable:
    """The D detections of one category, best score first, matched to its ground truth in A area ranges."""

    image: np.ndarray  # int [D], index into the sorted image ids
    true_positive: np.ndarray  # bool [A, T, D]
    counted: np.ndarray  # bool [A, T, D]; False where neither a true nor a false positive
    truths: np.ndarray  # int [A, images], number of ground truths that count


def bootstrap_ap(
    ground_truth: dict | str | os.PathLike,
    detections: list[dict] | str | os.PathLike,
    area_ranges: AreaRanges | None = None,
    draws: int = 200,
    seed: int = 0,
    iou_type: str = "bbox",
) -> dict[str, list[float | None]]:
    """Return ap, ap50, ap75 and ap_<range> for each of `draws` samples of the images with replacement.

    The images of a draw depend only on the number of images and the seed, so the replicates of two experiments on the
    same ground truth are paired draw by draw, and more draws only add to fewer. As in COCO, a category without ground
    truth in a draw is left out of its mean; the mean is `None` where no category has any. Other arguments and errors
    are those of `evaluate_detections`.
    """
    truth = read_ground_truth(ground_truth, iou_type)
    counts = image_counts(len(truth["images"]), draws, seed)
    return weighted_ap(truth, read_detections(detections, truth, iou_type), counts, area_ranges, iou_type)


def image_counts(images: int, draws: int, seed: int) -> np.ndarray:
    """Return how often each image occurs in each draw: int [draws, images], rows sum to `images`."""
    counts = np.zeros((draws, images), dtype=np.int64)
    if images:
        chosen = np.random.default_rng([seed, images]).integers(images, size=(draws, images))
        np.add.at(counts, (np.arange(draws)[:, None], chosen), 1)
    return counts


def weighted_ap(
    truth: dict[str, list[dict]],
    detections: list[dict],
    counts: np.ndarray,
    area_ranges: AreaRanges | None = None,
    iou_type: str = "bbox",
) -> dict[str, list[float | None]]:
    """Return the APs of records from `inputs`, with image i (by sorted id) taken counts[b, i] times in draw b."""
    ranges = all_area_ranges(area_ranges)
    weights = np.ascontiguousarray(counts.T, dtype=np.float64)  # [images, B]
    shape = (len(truth["categories"]), len(ranges), len(IOU_THRESHOLDS), weights.shape[1])
    precision = np.full(shape, np.nan)  # mean over the recall thresholds: [K, A, T, B]
    for k, table in enumerate(_match_tables(truth, detections, ranges, iou_type)):
        precision[k] = _average_precision(table, weights)
    parts = {"ap": precision[:, 0], "ap50": precision[:, 0, :1], "ap75": precision[:, 0, 5:6]}
    parts |= {f"ap_{name}": precision[:, a] for a, name in enumerate(ranges) if a}
    return {name: _mean_over_categories(part) for name, part in parts.items()}


def _average_precision(table: MatchTable, weights: np.ndarray) -> np.ndarray:
    """Return AP [A, T, B] at 101 recalls; NaN where a draw has no ground truth.

    Recall rises and precision peaks only at true positives, so only those rows are needed; the detections between them
    enter through the running count. Repeats of an image are one row of larger weight. Precision inside such a row never
    exceeds the larger of its ends, so COCO's envelope is the same.
    """
    n_areas, n_thresholds, _ = table.true_positive.shape
    result = np.full((n_areas, n_thresholds, weights.shape[1]), np.nan)
    rows = weights[table.image]  # [D, B]
    for a in range(n_areas):
        truths = table.truths[a] @ weights  # [B]
        present = truths > 0
        if not present.any():
            continue
        safe = np.where(present, truths, 1.0)
        running: dict[bytes, np.ndarray] = {}  # the last one only: neighbouring thresholds mostly count the same rows
        for t in range(n_thresholds):
            counted, positive = table.counted[a, t], table.true_positive[a, t]
            key = counted.tobytes()
            if key not in running:
                running = {key: np.cumsum(rows[counted], axis=0)}
            hits = np.cumsum(rows[positive], axis=0)  # [P, B]
            seen = running[key][np.cumsum(counted)[positive] - 1]
            precision = hits / (seen + np.spacing(1))
            envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
            # number of recall thresholds reached at each row; a threshold belongs to the first row that reaches it
            reached = np.searchsorted(RECALL_THRESHOLDS, hits / safe, side="right")
            gained = np.diff(reached, axis=0, prepend=0)
            result[a, t, present] = ((envelope * gained).sum(axis=0) / len(RECALL_THRESHOLDS))[present]
    return result


def _match_tables(truth: dict, detections: list[dict], ranges: AreaRanges, iou_type: str) -> Iterator[MatchTable]:
    """Yield a table for each category, in order of id."""
    truths_of, found_of = defaultdict(list), defaultdict(list)
    for annotation in truth["annotations"]:
        truths_of[annotation["category_id"], annotation["image_id"]].append(annotation)
    for detection in detections:
        found_of[detection["category_id"], detection["image_id"]].append(detection)
    ends = np.array(list(ranges.values()))  # [A, 2]
    for category in truth["categories"]:
        truths = np.zeros((len(ranges), len(truth["images"])), dtype=np.int64)
        images, scores, positives, counts = [], [], [], []
        for i, image in enumerate(truth["images"]):
            annotations = truths_of.get((category["id"], image["id"]), [])
            found = found_of.get((category["id"], image["id"]), [])
            crowd = np.array([annotation["iscrowd"] for annotation in annotations], dtype=bool)
            ignore = _outside([annotation["area"] for annotation in annotations], ends) | crowd
            truths[:, i] = (~ignore).sum(axis=1)
            if not found:
                continue
            score = np.array([detection["score"] for detection in found])
            order = np.argsort(-score, kind="stable")[: MAX_DETECTIONS[-1]]
            found = [found[j] for j in order]
            matched, ignored = match_image(pairwise_iou(found, annotations, iou_type), ignore, crowd, IOU_THRESHOLDS)
            outside = _outside([detection["area"] for detection in found], ends)[:, None, :]
            positives.append(matched & ~ignored)
            counts.append(~(ignored | (~matched & outside)))
            scores.append(score[order])
            images.append(np.full(len(found), i))
        if not images:
            nothing = np.zeros((len(ranges), len(IOU_THRESHOLDS), 0), dtype=bool)
            yield MatchTable(np.zeros(0, dtype=np.int64), nothing, nothing, truths)
            continue
        order = np.argsort(-np.concatenate(scores), kind="stable")
        positive, counted = np.concatenate(positives, axis=2), np.concatenate(counts, axis=2)
        yield MatchTable(np.concatenate(images)[order], positive[:, :, order], counted[:, :, order], truths)


def _outside(areas: list[float], ends: np.ndarray) -> np.ndarray:
    """Return bool [A, n]: areas outside each closed range."""
    values = np.array(areas, dtype=np.float64)
    return (values < ends[:, :1]) | (values > ends[:, 1:])


def _mean_over_categories(values: np.ndarray) -> list[float | None]:
    """Return the mean of values [K, T, B] over T and over the categories that exist in each draw."""
    present = ~np.isnan(values)
    number = present.sum(axis=(0, 1))
    total = np.where(present, values, 0.0).sum(axis=(0, 1))
    return [float(s / n) if n else None for s, n in zip(total, number, strict=True)]
