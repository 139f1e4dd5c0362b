"""The one estimate of a gain, from which every page takes it: its mean over blocks, and what it is uncertain by."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, stdev

from pipeline import paths
from pipeline.evaluation.intervals import Estimate, estimate, paired_interval
from pipeline.published.columns import ERRORS, MASK, kind_of, sign_of
from pipeline.published.rows import is_classifier
from pipeline.verdicts.baselines import headline_pairs
from pipeline.verdicts.results import Results, load_experiment

FEW = 5  # blocks; comparisons of fewer take the deviation of the headline's comparisons of their kind, too


@dataclass(frozen=True)
class Spread:
    """One metric of an experiment over its blocks; fractions of 1."""

    values: tuple[float, ...]

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float | None:
        return fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        return stdev(self.values) if len(self.values) > 1 else None


def spread(results: Results, evaluation: str, metric: str) -> Spread:
    """Return the values of a metric over the blocks in which it exists."""
    return Spread(tuple(value for value in results.values(evaluation, metric) if value is not None))


def estimate_gain(results: Results, evaluation: str, baseline: str, metric: str) -> Estimate | None:
    """Return the gain over a baseline, in fractions of 1, over the blocks that both have; None where there is none.

    Of errors, it is how much lower they are. Fewer than `FEW` blocks have too little to tell a deviation from; theirs
    is pooled with those of the headline's comparisons of the same kind (neck, and boxes, masks or errors).
    """
    differences = block_gains(results, evaluation, baseline, metric)
    if not differences:
        return None
    fixed = same_weights(evaluation, baseline)
    others: list[list[float]] = []
    if 1 < len(differences) < FEW and not fixed:
        own = kind_of_comparison(evaluation, metric)
        others = [
            block_gains(results, one, other, metric)
            for one, other in headline_pairs()
            if (one, other) != (evaluation, baseline)
            and not same_weights(one, other)
            and kind_of_comparison(one, metric) == own
        ]
    return estimate(differences, image_sd(results, evaluation, baseline, metric), others, fixed)


def estimate_level(results: Results, evaluation: str, metric: str) -> Estimate | None:
    """Return a metric of an evaluation itself, in fractions of 1, with its noise; None where it does not exist.

    As of gains, fewer than `FEW` blocks pool their deviation with that of the headline's evaluations of the same kind.
    """
    values = spread(results, evaluation, metric).values
    if not values:
        return None
    others: list[list[float]] = []
    if 1 < len(values) < FEW:
        names = dict.fromkeys(name for pair in headline_pairs() for name in pair if name != evaluation)
        own = kind_of_comparison(evaluation, metric)
        same = (name for name in names if kind_of_comparison(name, metric) == own)
        others = [list(spread(results, name, metric).values) for name in same]
    draws = (results.bootstrap(evaluation) or {}).get(metric, ())
    return estimate(values, paired_interval([0.0] * len(draws), draws)[2], others)


def block_gains(results: Results, evaluation: str, baseline: str, metric: str) -> list[float]:
    """Return the gain of every block that both evaluations have."""
    both = zip(results.values(evaluation, metric), results.values(baseline, metric), strict=False)
    return [sign_of(metric) * (ours - base) for ours, base in both if ours is not None and base is not None]


def image_gains(results: Results, evaluation: str, baseline: str, metric: str) -> list[float | None]:
    """Return the gain of every draw of the bootstrap over images; empty where the two cannot be paired."""
    both = [(results.bootstrap(name) or {}).get(metric, ()) for name in (evaluation, baseline)]
    if len(both[0]) != len(both[1]):
        return []
    return [None if None in (a, b) else sign_of(metric) * (a - b) for a, b in zip(*both, strict=True)]


def image_sd(results: Results, evaluation: str, baseline: str, metric: str) -> float | None:
    """Return the deviation of a gain over test images; None where it is unknown."""
    if metric in ERRORS:
        return independent_sd(results.metrics(evaluation), results.metrics(baseline), metric)
    gains = image_gains(results, evaluation, baseline, metric)
    return paired_interval([0.0] * len(gains), gains)[2]


def independent_sd(ours: dict, base: dict, metric: str) -> float | None:
    """Return the deviation of a difference of two error rates over test images, as if these were not the same ones.

    Which images each network misses is not kept, so the difference cannot be paired; taking the two as independent
    makes the interval wider, not narrower. None where the number of test images is unknown.
    """
    if not ours.get("images") or not base.get("images"):
        return None
    return sum(m[metric] * (1 - m[metric]) / m["images"] for m in (ours, base)) ** 0.5


def same_weights(evaluation: str, baseline: str) -> bool:
    """Whether two evaluations are tests of the same trained network, so that no noise of training parts them."""
    return paths.split_evaluation(evaluation)[0] == paths.split_evaluation(baseline)[0]


def kind_of_comparison(evaluation: str, metric: str) -> tuple[str, ...]:
    """Return what comparisons must have in common for their deviations to be pooled."""
    loaded = load_experiment(paths.split_evaluation(evaluation)[0])
    if is_classifier(evaluation):
        return ("classifier", loaded.dataset)
    dense = loaded.detector if loaded.detector in ("retinanet", "fcos", "reppoints", "d_rfcn_rpn") else "regions"
    return (kind_of(metric), "masks" if metric.startswith(MASK) else "boxes", dense, loaded.neck, loaded.dataset)
