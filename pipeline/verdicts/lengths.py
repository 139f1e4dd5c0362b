"""How many images the trainings behind a method and behind its baseline saw: a gain is fair where these are equal."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline import paths
from pipeline.verdicts.comparison import Compared
from pipeline.verdicts.results import Results, load_experiment, scale_source

EQUAL = 0.01  # relative difference of two numbers of images that rounded steps can have


def behind(experiment: str) -> list[str]:
    """Return the trainings behind an experiment: its own, and the one that its scales or weights come from (POD)."""
    return list(dict.fromkeys((experiment, scale_source(experiment) or experiment)))


def gives_weights(experiment: str) -> bool:
    """Whether the training that an experiment's scales come from gives its weights, too (FD-WT)."""
    return load_experiment(experiment).init.endswith("_wt")


def images_seen(results: Results, experiment: str) -> int | None:
    """Return how many network inputs the training of an experiment saw, the mean of its blocks; None: not run."""
    summary = results.training(experiment)
    if summary is None:
        return None
    return round(summary.get("images_seen") or summary.get("steps", 0) * summary.get("batch", 0)) or None


def times_images(results: Results, experiment: str, baseline: str) -> float | None:
    """Return how many times its baseline's images an experiment's weights saw in training; None where unknown."""
    ours, theirs = (
        [images_seen(results, name) for name in (behind(one) if gives_weights(one) else [one])]
        for one in (experiment, baseline)
    )
    return None if None in (*ours, *theirs) else sum(ours) / sum(theirs)


def unequal_lengths(results: Results, compared: Iterable[Compared]) -> list[str]:
    """Return a sentence for every row whose trainings saw another number of images than those of its baseline."""
    found = []
    for item in (item for item in compared if item.baseline):
        method, baseline = item.experiment, paths.split_evaluation(item.baseline)[0]
        ours, theirs = ([images_seen(results, name) for name in behind(one)] for one in (method, baseline))
        if None in (*ours, *theirs) or abs(sum(ours) - sum(theirs)) <= EQUAL * sum(theirs):
            continue
        found.append(
            f"Unequal lengths: the trainings behind `{method}` saw {sum(ours):,} images{_of_scales(method, ours)}, "
            f"those behind its baseline `{baseline}` {sum(theirs):,}{_of_scales(baseline, theirs)}."
        )
    return list(dict.fromkeys(found))


def _of_scales(experiment: str, counts: list[int]) -> str:
    if len(counts) == 1:
        return ""
    gives = "scales and weights" if gives_weights(experiment) else "only scales"
    return f" ({counts[1]:,} of them in `{behind(experiment)[1]}`, which gives {gives})"
