"""The small files that stages left for one preset, read once; a missing one is `None`, never an error."""

import csv
import io
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import config, paths
from pipeline.errors import InputError
from pipeline.files import found_json, read_text
from pipeline.options import Experiment, Recipe
from pipeline.preset import Preset
from pipeline.published.rows import is_classifier
from pipeline.verdicts.networks import network
from pipeline.verdicts.rule import MOVED

TOPS = ("top1", "top5")
HELD_OUT = 0.1  # share of the crops that `training.classification` judges its classifiers on


class Results:
    """Metrics and histories of one preset."""

    def __init__(self, preset: str) -> None:
        self.name = preset
        self.preset: Preset = config.load_preset(preset)

    @property
    def judges(self) -> bool:
        """Whether the preset decides anything."""
        return self.preset.verdicts.judge

    def metrics(self, evaluation: str) -> dict[str, Any] | None:
        """Return an evaluation's metrics; those of a classifier, which is scored while it trains, are its errors.

        Several blocks give their mean; `values` has those of each.
        """
        if not is_classifier(evaluation):
            return found_json(paths.metrics(self.name, evaluation))
        summary = self.training(evaluation)
        return None if summary is None else _errors(summary)

    def values(self, evaluation: str, metric: str) -> list[float | None]:
        """Return a metric of every block of an evaluation, in order; empty where it was not run."""
        found = self.training(evaluation) if is_classifier(evaluation) else self.metrics(evaluation)
        if found is None:
            return []
        parts = found.get("blocks", [found])
        return [(_errors(part) if is_classifier(evaluation) else part).get(metric) for part in parts]

    def bootstrap(self, evaluation: str) -> dict[str, Any] | None:
        return None if is_classifier(evaluation) else found_json(paths.bootstrap(self.name, evaluation))

    def speeds(self, device: str) -> dict[str, Any] | None:
        """Return the layers benchmark of a device; it belongs to a machine, not to a preset."""
        return found_json(paths.ROOT / paths.layer_benchmark(device))

    def training(self, experiment: str) -> dict[str, Any] | None:
        return found_json(paths.training_summary(self.name, experiment))

    def scales(self, experiment: str) -> dict[str, Any] | None:
        return found_json(paths.scales(self.name, experiment))

    def size(self, experiment: str) -> dict[str, Any] | None:
        return found_json(paths.size(self.name, experiment))

    def counts(self, experiment: str) -> dict[str, Any] | None:
        """Return parameters and multiply-adds of an experiment's network at the papers' size, None if not counted."""
        rows = (found_json(paths.metrics(self.name, "identities")) or {}).get("rows", ())
        wanted = network(load_experiment(experiment))
        return next((row for row in rows if row["network"] == wanted), None)

    def history(self, experiment: str) -> list[dict[str, float | None]]:
        """Return the logged windows of a training; empty cells are `None`, a missing file is no window."""
        path = paths.history(self.name, experiment)
        return read_numbers(path) if path.is_file() else []

    def reproduces(self) -> bool:
        """Tell whether the preset is there to reproduce the papers' whole catalogue, not to look at a user's data."""
        return self.name == "full" or self.preset.data.kind == "scaleworld"

    def published_images(self) -> bool:
        return self.preset.data.may_publish_images


@cache
def load_recipe(name: str) -> Recipe:
    """Return a recipe's file. Raises InputError where it is wrong."""
    return config.load(paths.ROOT / paths.recipe_file(name), Recipe)


@cache
def load_experiment(name: str) -> Experiment:
    """Return an experiment's file. Raises InputError where it is wrong."""
    return config.load(paths.ROOT / paths.experiment_file(name), Experiment)


def scale_source(experiment: str) -> str | None:
    """Return the GSL experiment whose learnt scales a network uses; None for a network without any."""
    loaded = load_experiment(experiment)
    if loaded.method.global_scale:
        return experiment
    return loaded.init.removesuffix("_wt").removesuffix("_fd") if loaded.method.decomposed else None


class Activity(NamedTuple):
    """What `judge` is told of a method's run: why it changed nothing, or that this cannot be known."""

    inactive: str | None = None
    doubt: str | None = None


def activity(results: Results, experiment: str) -> Activity:
    """Return whether a method did anything in this run.

    GSL and what is decomposed from it did nothing where no scale moved, DST where no collage was drawn beyond the first
    step, which always is one, SNIP where every object, or none, is valid at every resolution.
    """
    method = load_experiment(experiment).method
    source = scale_source(experiment)
    if source is not None:
        scales = results.scales(source)
        if scales is None:
            return _unknown(paths.scales(results.name, source))
        if scales["largest_shift"] < MOVED:
            return Activity(f"no learnt scale moved by {MOVED} or more (largest {scales['largest_shift']:.3f})")
    training = results.training(experiment)
    if (method.collage or method.snip) and training is None:
        return _unknown(paths.training_summary(results.name, experiment))
    if method.collage:
        collages = (training.get("collage_share") or 0.0) * training["steps"]
        if collages < 1.5 and method.collage.feedback != "always":
            return Activity("no collage was drawn after the first step")
    if method.snip:
        shares = list((training.get("valid_objects") or {}).values())
        if all(share == 0 for share in shares):
            return Activity("no object was in a valid range")
        if all(share == 1 for share in shares):
            return Activity("every object was in every valid range")
    return Activity()


def _unknown(path: Path) -> Activity:
    return Activity(doubt=f"Whether the method did anything in this run is unknown: {path.as_posix()} is missing.")


def read_numbers(path: Path) -> list[dict[str, float | None]]:
    """Read a CSV of numbers with a header. Raises InputError naming the line of a cell that is none."""
    rows = []
    for number, row in enumerate(csv.DictReader(io.StringIO(read_text(path))), start=2):
        try:
            rows.append({key: float(cell) if cell else None for key, cell in row.items()})
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}, line {number} holds a cell that is no number; make this file again.") from error
    return rows


def _errors(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the errors of a classifier in the summary of its training, and the images that they were measured on."""
    errors = {f"{top}_err": summary.get(f"{top}_error") for top in TOPS}
    return {"images": summary.get("val_images") or _held_out(summary)} | errors


def _held_out(summary: dict[str, Any]) -> int | None:
    """Return how many crops a classifier was judged on, from how many it was trained on; None where none are."""
    held = round(summary.get("images", 0) * HELD_OUT / (1 - HELD_OUT))
    return held or None
