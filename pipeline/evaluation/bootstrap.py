"""Paired bootstrap of AP over images: the APs that other draws of validation images would give."""

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pipeline.evaluation.contributions import Contributions, contributions_of
from pipeline.evaluation.precision import mean_ap
from pipeline.evaluation.protocol import AreaRanges

Replicates = dict[str, list[float | None]]  # by metric, one number of each draw


def bootstrap_ap(
    ground_truth: dict | str | os.PathLike,
    detections: list[dict] | str | os.PathLike,
    area_ranges: AreaRanges | None = None,
    draws: int = 200,
    seed: int = 0,
    iou_type: str = "bbox",
) -> Replicates:
    """Return ap, ap50, ap75 and ap_<range> for each of `draws` samples of the images with replacement.

    The images of a draw depend only on the number of images and the seed, so the replicates of two experiments on the
    same ground truth are paired draw by draw, and more draws only add to fewer. As in COCO, a category without ground
    truth in a draw is left out of its mean; the mean is `None` where no category has any. Other arguments and errors
    are those of `evaluate_detections`.
    """
    return replicates_of(contributions_of(ground_truth, detections, iou_type, area_ranges), draws, seed)


def replicates_of(found: Contributions, draws: int = 200, seed: int = 0) -> Replicates:
    """Return what `bootstrap_ap` returns, of detections that are matched already."""
    return weighted_ap(found, image_counts(len(found.image_ids), draws, seed))


def joint_draws(evaluations: Mapping[str, Contributions], draws: int = 200, seed: int = 0) -> dict[str, Replicates]:
    """Return the replicates of several evaluations of the same images (blocks, methods), all of the same draws.

    Their mean over blocks, draw by draw (`mean_draws`), is the replicate of the mean over blocks, and a difference of
    two such means that of a gain: images are resampled once for all blocks and methods.

    As draws depend only on the number of images and the seed, replicates made apart, from `bootstrap_ap`, are the same
    as those made together. So what is to be kept of an evaluation are its replicates, six numbers a draw (10 kB at 200
    draws), and not its contributions (about 10 MB on COCO).

    Raises:
        ValueError: the evaluations are not of the same images.
    """
    images = {found.image_ids for found in evaluations.values()}
    if len(images) > 1:
        raise ValueError(f"Evaluations are drawn jointly over the same images, got {len(images)} sets of images.")
    return {name: replicates_of(found, draws, seed) for name, found in evaluations.items()}


def mean_draws(replicates: Iterable[Mapping[str, Sequence[float | None]]]) -> Replicates:
    """Return the mean of several evaluations' replicates, draw by draw; None where one of them has no number.

    Raises:
        ValueError: they have different metrics or numbers of draws.
    """
    parts = list(replicates)
    if any(part.keys() != parts[0].keys() for part in parts):
        raise ValueError(f"A mean of replicates has the same metrics in all, got {[list(part) for part in parts]}.")
    return {
        metric: [
            None if None in values else sum(values) / len(values)
            for values in zip(*(part[metric] for part in parts), strict=True)
        ]
        for metric in (parts[0] if parts else ())
    }


def image_counts(images: int, draws: int, seed: int) -> np.ndarray:
    """Return how often each image occurs in each draw: int [draws, images], rows sum to `images`."""
    counts = np.zeros((draws, images), dtype=np.int64)
    if images:
        chosen = np.random.default_rng([seed, images]).integers(images, size=(draws, images))
        np.add.at(counts, (np.arange(draws)[:, None], chosen), 1)
    return counts


def weighted_ap(found: Contributions, counts: np.ndarray) -> Replicates:
    """Return the APs of an evaluation with image i (by sorted id) taken counts[b, i] times in draw b."""
    means = mean_ap(found, np.ascontiguousarray(counts.T, dtype=np.int32))
    return {name: [None if np.isnan(value) else float(value) for value in values] for name, values in means.items()}
