"""The small files that stages left for one preset, read once; a missing one is `None`, never an error."""

from __future__ import annotations

import csv
import hashlib
import io
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import msgspec

from pipeline import config, paths
from pipeline.errors import InputError
from pipeline.files import read_json, read_text
from pipeline.options import Experiment
from pipeline.preset import Preset

MOVED = 0.05  # learnt scales nearer to 1 than this decompose into the plain convolution (POD, section 3.3)


class Results:
    """Metrics, histories and noise of one preset."""

    def __init__(self, preset: str) -> None:
        self.name = preset
        self.preset: Preset = config.load_preset(preset)

    def metrics(self, evaluation: str) -> dict[str, Any] | None:
        return _json(paths.metrics(self.name, evaluation))

    def bootstrap(self, evaluation: str) -> dict[str, Any] | None:
        return _json(paths.bootstrap(self.name, evaluation))

    def training(self, experiment: str) -> dict[str, Any] | None:
        return _json(paths.training_summary(self.name, experiment))

    def scales(self, experiment: str) -> dict[str, Any] | None:
        return _json(paths.scales(self.name, experiment))

    def size(self, experiment: str) -> dict[str, Any] | None:
        return _json(paths.size(self.name, experiment))

    def history(self, experiment: str) -> list[dict[str, float | None]]:
        """Return the logged windows of a training; empty cells are `None`, a missing file is no window."""
        path = paths.history(self.name, experiment)
        return read_numbers(path) if path.is_file() else []

    def published_images(self) -> bool:
        return self.preset.data.may_publish_images

    @cached_property
    def noise(self) -> dict[str, Any]:
        """Run-to-run deviations by neck (`fpn`, `none`), empty where they were measured for other settings."""
        entry = (_json(paths.NOISE) or {}).get(self.name) or {}
        return entry.get("groups", {}) if entry.get("preset_digest") == preset_digest(self.preset) else {}

    def run_noise(self, experiment: str, metric: str) -> tuple[float | None, int | None]:
        """Return (deviation of one run, degrees of freedom) of a metric; (None, None) where nobody measured it."""
        group = self.noise.get(load_experiment(experiment).neck)
        deviation = group.get("sd", {}).get(metric) if group else None
        return (None, None) if deviation is None else (deviation, group["dof"])


def preset_digest(preset: Preset) -> str:
    """Hash of everything in a preset that can change a metric: the key of `data/noise.json`."""
    contents = msgspec.to_builtins(preset)
    for key in ("name", "title", "verdicts"):
        contents.pop(key)
    contents["data"].pop("may_publish_images")
    return hashlib.sha256(msgspec.json.encode(contents, order="sorted")).hexdigest()[:16]


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


def inactive_reason(results: Results, experiment: str) -> tuple[str | None, str | None]:
    """Return (why the method changed nothing in this run, which file that would tell is missing).

    GSL and what is decomposed from it: no scale moved. DST: no collage beyond the first step, which always is one.
    SNIP: every object, or none, is valid at every resolution.
    """
    method = load_experiment(experiment).method
    source = scale_source(experiment)
    if source is not None:
        scales = results.scales(source)
        if scales is None:
            return None, paths.scales(results.name, source).as_posix()
        if scales["largest_shift"] < MOVED:
            return f"no learnt scale moved by {MOVED} or more (largest {scales['largest_shift']:.3f})", None
    training = results.training(experiment)
    if (method.collage or method.snip) and training is None:
        return None, paths.training_summary(results.name, experiment).as_posix()
    if method.collage:
        collages = (training.get("collage_share") or 0.0) * training["steps"]
        if collages < 1.5 and method.collage.feedback != "always":
            return "no collage was drawn after the first step", None
    if method.snip:
        shares = list((training.get("valid_objects") or {}).values())
        if all(share == 0 for share in shares):
            return "no object was in a valid range", None
        if all(share == 1 for share in shares):
            return "every object was in every valid range", None
    return None, None


def read_numbers(path: Path) -> list[dict[str, float | None]]:
    """Read a CSV of numbers with a header. Raises InputError naming the line of a cell that is none."""
    rows = []
    for number, row in enumerate(csv.DictReader(io.StringIO(read_text(path))), start=2):
        try:
            rows.append({key: float(cell) if cell else None for key, cell in row.items()})
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}, line {number} holds a cell that is no number; make this file again.") from error
    return rows


def _json(path: Path) -> Any:
    return read_json(path) if path.is_file() else None
