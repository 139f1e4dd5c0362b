"""Trackers in which people look at trainings: DVCLive, MLflow or Weights & Biases, by one key of the machine.

The history and the log of every step stay the source: a tracker gets the history's rows as they are closed, and where
one fails in mid-training, the training goes on without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tqdm import tqdm

from pipeline.errors import InputError
from pipeline.files import found_json, write_json
from pipeline.settings import settings
from pipeline.spec import Spec

PROJECT = "scalewise"


class Place(NamedTuple):
    """Which training is tracked, and where."""

    spec: Spec
    folder: Path  # for files of the tracker
    options: dict[str, str]  # that decide the training's result
    run: str | None  # the tracker's own name of the run that goes on, None for a new one


class Sink(NamedTuple):
    """An opened tracker."""

    run: str | None  # its name of the run
    log: Callable[[int, dict[str, float]], None]  # of a step's quantities
    close: Callable[[], None]


class Tracker:
    """One training's rows in the machine's tracker; no row is sent twice, however often the training goes on.

    Args:
        kind: a key of `KINDS`.
        spec: the resolved experiment.
        scratch: folder of the training's checkpoints, which remembers the tracker's run until the training is done.
        published: final file of the training's log; the tracker's files go to the folder of this name without suffix.

    Raises:
        InputError: the tracker's package is not installed.
    """

    def __init__(self, kind: str, spec: Spec, scratch: Path, published: Path) -> None:
        self.kind, self.name, self.memory = kind, spec.name, scratch / "tracking.json"
        package = imported(kind)
        known = found_json(self.memory) or {}
        known = known if known.get("kind") == kind else {}
        self.sent = known.get("step", 0)
        script = "pretrain" if spec.experiment.detector == "classifier" else "train"
        options = dict(line.split(": ", 1) for line in settings(spec, script))
        place = Place(spec, published.with_suffix(""), options, known.get("run"))
        self.sink: Sink | None = None
        self.attempt(lambda: setattr(self, "sink", KINDS[kind](package, place)))

    def show(self, rows: list[dict[str, float]]) -> None:
        """Send the rows that were not sent yet."""
        new = [row for row in rows if row["step"] > self.sent]
        if new and self.sink is not None:
            self.attempt(lambda: self.send(new))

    def send(self, rows: list[dict[str, float]]) -> None:
        for row in rows:
            self.sink.log(int(row["step"]), {name: value for name, value in row.items() if name != "step"})
            self.sent = int(row["step"])
        write_json(self.memory, {"kind": self.kind, "run": self.sink.run, "step": self.sent})

    def close(self) -> None:
        """End the run."""
        if self.sink is not None:
            self.attempt(self.sink.close)

    def attempt(self, call: Callable[[], Any]) -> None:
        """Call the tracker; where it fails, go on without it, because it holds no result."""
        try:
            call()
        except Exception as error:  # of a server, a network, a disk
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            tqdm.write(f"{self.name}: {self.kind} fails ({reason}); the training goes on without it.", file=sys.stderr)
            self.sink = None


def imported(package: str) -> ModuleType:
    """Return a tracker's package; raise InputError where it is not installed."""
    try:
        return import_module(package)
    except ImportError as error:
        raise InputError(
            f"The machine's `tracking` (params.yaml) is {package}, and this package is missing; pip install {package}, "
            "or leave `tracking` out."
        ) from error


def dvclive(package: ModuleType, place: Place) -> Sink:
    """Files that DVC's extension and Studio read; DVC's own experiments hold the results, so none is saved here."""
    live = package.Live(str(place.folder / "dvclive"), resume=place.run is not None, save_dvc_exp=False, dvcyaml=None)
    live.log_params(place.options)

    def log(step: int, row: dict[str, float]) -> None:
        live.step = step
        for name, value in row.items():
            live.log_metric(name, value)
        live.make_summary()

    return Sink(place.spec.name, log, live.end)


def mlflow(package: ModuleType, place: Place) -> Sink:
    """A run in an experiment of the preset's, on the server of MLFLOW_TRACKING_URI or in data/logs."""
    if "MLFLOW_TRACKING_URI" not in os.environ:
        package.set_tracking_uri(f"sqlite:///{place.folder.parent.parent / 'mlflow.db'}")
    package.set_experiment(f"{PROJECT}/{place.spec.preset.name}")
    run = package.start_run(run_id=place.run, run_name=place.spec.name)
    if place.run is None:
        package.log_params(place.options)
    return Sink(run.info.run_id, lambda step, row: package.log_metrics(row, step=step), package.end_run)


def wandb(package: ModuleType, place: Place) -> Sink:
    """A run in a project of this one's name, on the account of `wandb login`, or by WANDB_MODE=offline in data/logs."""
    place.folder.mkdir(parents=True, exist_ok=True)
    run = package.init(
        project=PROJECT,
        group=place.spec.preset.name,
        name=place.spec.name,
        id=place.run,
        resume="allow",
        dir=str(place.folder),
        config=place.options,
    )
    return Sink(run.id, lambda step, row: run.log(row, step=step), run.finish)


KINDS = {"dvclive": dvclive, "mlflow": mlflow, "wandb": wandb}
