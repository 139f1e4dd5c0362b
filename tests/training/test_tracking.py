"""Trackers, with stand-ins for their packages: every row once, resumed as one run, never a reason to stop."""

import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import toy

from pipeline.errors import InputError
from pipeline.training import tracking

pytestmark = pytest.mark.usefixtures("empty_folder")
STEPS = 6


class Recorder:
    """What a tracker's package was told: runs by name, with their settings and rows."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.open: str | None = None
        self.broken_from = STEPS + 1

    def begin(self, run: str | None, **facts: Any) -> str:
        self.open = run or f"run{len(self.runs)}"
        found = self.runs.setdefault(self.open, {"rows": {}, "ended": 0, "begun": 0, **facts})
        found["begun"] += 1
        return self.open

    def log(self, step: int, row: dict[str, float]) -> None:
        if step >= self.broken_from:
            raise ConnectionError("the server is gone")
        rows = self.runs[self.open]["rows"]
        assert not rows.get(step, {}).keys() & row.keys(), f"step {step} was sent twice"
        rows.setdefault(step, {}).update(row)

    def end(self) -> None:
        self.runs[self.open]["ended"] += 1


def dvclive(found: Recorder) -> types.ModuleType:
    class Live:
        def __init__(self, dir: str, *, resume: bool, save_dvc_exp: bool, dvcyaml: str | None) -> None:
            assert (save_dvc_exp, dvcyaml) == (False, None)  # the graph's own files hold the results
            assert resume == (dir in found.runs)
            self.step = 0
            found.begin(dir)

        def log_params(self, params: dict) -> None:
            found.runs[found.open]["options"] = params

        def log_metric(self, name: str, value: float) -> None:
            found.log(self.step, {name: value})

        def make_summary(self) -> None: ...

        def end(self) -> None:
            found.end()

    return module("dvclive", Live=Live)


def mlflow(found: Recorder) -> types.ModuleType:
    def start_run(run_id: str | None, run_name: str) -> types.SimpleNamespace:
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=found.begin(run_id, name=run_name)))

    return module(
        "mlflow",
        set_tracking_uri=lambda uri: setattr(found, "uri", uri),
        set_experiment=lambda name: setattr(found, "experiment", name),
        start_run=start_run,
        log_params=lambda options: found.runs[found.open].update(options=options),
        log_metrics=lambda row, step: found.log(step, row),
        end_run=found.end,
    )


def wandb(found: Recorder) -> types.ModuleType:
    def init(*, project: str, group: str, name: str, id: str | None, resume: str, dir: str, config: dict) -> Any:
        assert (project, group, resume) == ("scalewise", "tiny", "allow")
        assert Path(dir).is_dir()
        run = found.begin(id, name=name, options=config)
        return types.SimpleNamespace(id=run, log=lambda row, step: found.log(step, row), finish=found.end)

    return module("wandb", init=init)


def module(name: str, **members: Any) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__dict__.update(members)
    return made


PACKAGES = {"dvclive": dvclive, "mlflow": mlflow, "wandb": wandb}


@pytest.fixture(params=PACKAGES)
def tracked(request, monkeypatch) -> Recorder:
    found = Recorder()
    monkeypatch.setitem(sys.modules, request.param, PACKAGES[request.param](found))
    monkeypatch.setenv("SCALEWISE_TRACKING", request.param)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return found


def test_every_tracker_has_a_stand_in():
    assert set(PACKAGES) == set(tracking.KINDS)


def test_a_resumed_training_is_one_run_with_every_row_once(tracked):
    with pytest.raises(toy.CutError):
        toy.train(steps=STEPS, stop=5)  # after rows that the last checkpoint does not hold
    _, history, _ = toy.train(steps=STEPS)
    ((_, run),) = tracked.runs.items()
    assert run["rows"] == {row["step"]: {n: v for n, v in row.items() if n != "step"} for row in history.rows}
    assert (run["begun"], run["ended"]) == (2, 1)
    assert run["options"]["experiment.detector"] == '"faster_rcnn"'
    assert "preset.training.lr" in run["options"]


def test_a_tracker_that_fails_does_not_stop_the_training(tracked, capsys):
    tracked.broken_from = 3
    _, history, _ = toy.train(steps=STEPS)
    assert history.rows[-1]["step"] == STEPS
    assert capsys.readouterr().err.count("fails (ConnectionError: the server is gone); the training goes on") == 1
    ((_, run),) = tracked.runs.items()
    assert set(run["rows"]) == {1, 2}


def test_a_new_training_is_a_new_run(monkeypatch):
    found = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", wandb(found))
    monkeypatch.setenv("SCALEWISE_TRACKING", "wandb")
    toy.train(steps=STEPS)
    shutil.rmtree("scratch")  # as a finished training does
    toy.train(steps=STEPS)
    assert [len(run["rows"]) for run in found.runs.values()] == [STEPS, STEPS]


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_missing_package_is_one_sentence(monkeypatch, kind):
    monkeypatch.setenv("SCALEWISE_TRACKING", kind)
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(
        InputError, match=f"`tracking` .* is {kind}, and this package is missing; pip install {kind}, or"
    ):
        toy.train(steps=STEPS)


def test_an_unknown_tracker_is_refused(monkeypatch):
    monkeypatch.setenv("SCALEWISE_TRACKING", "neptune")
    with pytest.raises(InputError, match="SCALEWISE_TRACKING is 'neptune'"):
        toy.train(steps=STEPS)
