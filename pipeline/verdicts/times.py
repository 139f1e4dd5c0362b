"""Ratios of whole detectors' times: which pairs the printed tables and the methods' page compare, what was timed."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline import config, paths
from pipeline.files import read_json
from pipeline.options import Recipe
from pipeline.published.tables import exists, load_published
from pipeline.verdicts.methods import COMBINATIONS, METHODS, SINGLES
from pipeline.verdicts.networks import network
from pipeline.verdicts.results import load_experiment

FOLDER = Path("reports/benchmarks")
KINDS = {"ms_per_image": "inference", "hours": "training"}  # what a printed column of times is a time of
PREFIXES = {"gpu": "a GPU", "cpu": "a CPU"}  # the first that was run is the one that tables show
OVERHEAD = ("dst_frcnn_r50_fpn_1x_dst", "dst_frcnn_r50_fpn_1x")  # the trainings of the dst_overhead benchmark


@dataclass(frozen=True)
class Timed:
    """A detector whose inference or training step is timed beside its baseline's."""

    kind: str  # "inference" or "training"
    experiment: str
    baseline: str


@dataclass(frozen=True)
class Ratio:
    """A time over the baseline's; `low` and `high` are quartiles of rounds or a bootstrap interval, None if exact."""

    value: float
    low: float | None
    high: float | None
    sentence: str


def wanted() -> list[Timed]:
    """Return what tables with times and the methods' page compare, each distinct pair of networks and inputs once.

    Steps that change from image to image have no time of their own: DST's are timed by a benchmark of live trainings,
    SNIP's, which take one resolution of a pyramid after the other, by none.
    """
    found: dict[tuple[str, str, str], Timed] = {}
    for one in [*_of_tables(), *_of_methods()]:
        keys = (one.kind, key(one.kind, one.experiment), key(one.kind, one.baseline))
        method = load_experiment(one.experiment).method
        changing = one.kind == "training" and (method.collage is not None or method.snip is not None)
        if keys[1] != keys[2] and not changing:
            found.setdefault(keys, one)
    return list(found.values())


def _of_tables() -> list[Timed]:
    found = []
    for paper in paths.PAPERS:
        published = load_published(paper)
        for table in published.tables:
            for row in (row for row in table.rows if exists(row) and row.experiments):
                base = published.baseline(table, row)
                if base and base[1].experiments:
                    names = (row.experiments[-1], base[1].experiments[-1])
                    found += [Timed(kind, *names) for column, kind in KINDS.items() if column in table.columns]
    return found


def _of_methods() -> list[Timed]:
    found = []
    for pair in [*METHODS, *SINGLES, *(pair for pair, _ in COMBINATIONS)]:
        names = [paths.split_evaluation(name)[0] for name in (pair.evaluation, pair.baseline)]
        found += [Timed(kind, *names) for kind in (KINDS.values() if pair in METHODS else ("inference",))]
    return found


@cache
def key(kind: str, experiment: str) -> str:
    """Return what decides a time: the network, its input's sides, and which steps change from image to image."""
    what = load_experiment(experiment)
    recipe = config.load(paths.ROOT / paths.recipe_file(what.recipe), Recipe)
    found: dict[str, Any] = {"network": network(what), "long_side": recipe.long_side}
    if kind == "training":
        found["sides"] = seen_sides(recipe, what.method.short_sides or (recipe.short_side,))
        found |= {"collage": what.method.collage is not None, "snip": what.method.snip is not None}
    else:
        test = what.tests.get("single")
        found["sides"] = list(test.short_sides) if test else [recipe.short_side]
    return json.dumps(found, sort_keys=True)


def seen_sides(recipe: Recipe, sides: Iterable[int]) -> list[int]:
    """Return drawn short sides as a 4:3 photograph has them under the recipe's limit of the long side."""
    return [min(side, round(recipe.long_side * 3 / 4)) for side in sides]


def measured() -> dict[str, Any] | None:
    """Return the benchmark of detectors, a GPU's where there is one; None where it was not run."""
    found = (FOLDER / f"{prefix}_detectors.json" for prefix in PREFIXES)
    return next((read_json(path) for path in found if path.is_file()), None)


def ratio(kind: str, experiment: str, baseline: str) -> Ratio | None:
    """Return a detector's time over another's, None where they were not timed beside each other."""
    keys = key(kind, experiment), key(kind, baseline)
    if keys[0] == keys[1]:
        return Ratio(1.0, None, None, "Both are one network at one size: the ratio is 1 by construction.")
    found = measured()
    for row in found["rows"] if found else ():
        if row["kind"] == kind and (row["key"], row["baseline_key"]) == keys:
            numbers = row["ratio"]
            sentence = f"Timed on {PREFIXES[found['prefix']]}, {numbers['median']:.2f} times the baseline's"
            sentence += f" (quartiles {numbers['low']:.2f} to {numbers['high']:.2f})."
            return Ratio(numbers["median"], numbers["low"], numbers["high"], sentence)
    return _of_collages(keys) if kind == "training" else None


def _of_collages(keys: tuple[str, str]) -> Ratio | None:
    """Return what DST's benchmark of live trainings says, where this is its pair of trainings."""
    for prefix, device in PREFIXES.items():
        path = FOLDER / f"{prefix}_dst_overhead.json"
        if path.is_file() and keys == tuple(key("training", name) for name in OVERHEAD):
            mean = read_json(path)["ratios"]["dst"]["total"]["mean"]
            told = "{ratio:.3f} [{low:.3f}, {high:.3f}] times the baseline's.".format_map(mean)
            return Ratio(mean["ratio"], mean["low"], mean["high"], f"Mean step with loading on {device}: {told}")
    return None
