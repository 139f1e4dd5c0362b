"""A killed training goes on to the same bytes as one that was never killed, and the same seed gives the same files."""

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from toy import CutError

from pipeline import code_digest, paths
from pipeline.data.manifest import load_split
from pipeline.errors import InputError
from pipeline.evaluation.scoring import score
from pipeline.prediction.detector import predict
from pipeline.spec import Spec
from pipeline.training import detection, loop
from pipeline.training.checkpoint import checkpoint_folder
from pipeline.training.classification import crops
from pipeline.training.classification.pretraining import pretrain
from pipeline.training.detection import DetectorStep, train_detector

DST = "dst_frcnn_r50_fpn_1x_dst"
INTERRUPTED = [
    ("dst_frcnn_r50_fpn_1x", {}),
    (DST, {}),
    ("snip_drfcn_r50_7ep_snip", {"checkpoint_rows": 9}),  # of 18 steps
    (DST, {"accumulate": 2}),
    (DST, {"ema": 0.9}),
    (DST, {"precision": "bf16"}),
    (DST, {"accumulate": 2, "ema": 0.5, "workers": "1"}),
]


def spec_of(experiment: str, **training: Any) -> Spec:
    """Return a tiny experiment; SNIP's need no other experiment's proposals here."""
    return (tiny.c4 if experiment.startswith("snip") else tiny.spec)(experiment, **training)


def files_of(spec: Spec) -> list[Path]:
    """Return all that a training writes."""
    name, preset = spec.name, spec.preset.name
    return [paths.weights(preset, name), paths.history(preset, name), paths.training_summary(preset, name)]


def trained(spec: Spec) -> list[bytes]:
    """Train and return the bytes of what was written, which is taken away."""
    train_detector(spec)
    return [(path.read_bytes(), path.unlink())[0] for path in files_of(spec)]


def before_step(patch: pytest.MonkeyPatch, action: Callable[[int], None]) -> None:
    """Let a detector's step of each number (from 0) start with an action."""
    original = DetectorStep.__call__

    def step(self: DetectorStep, number: int) -> tuple:
        action(number)
        return original(self, number)

    patch.setattr(DetectorStep, "__call__", step)


def cut_power_at(step: int) -> Callable[[int], None]:
    """Return an action that raises CutError at a step."""

    def action(number: int) -> None:
        if number == step:
            raise CutError

    return action


@pytest.mark.parametrize(("experiment", "options"), INTERRUPTED)
def test_interrupted_training_ends_with_the_same_bytes(tiny_project, monkeypatch, experiment, options):
    options = dict(options)
    monkeypatch.setenv("SCALEWISE_WORKERS", options.pop("workers", "0"))
    spec, batches = spec_of(experiment, **options), options.get("accumulate", 1)
    whole = trained(spec)
    if experiment == DST and not options:
        assert 0 < json.loads(whole[2])["collage_share"] < 1  # else the bytes would not hold both streams' counts
    with monkeypatch.context() as patch:
        before_step(patch, cut_power_at(6 * batches - 1))
        with pytest.raises(CutError):
            train_detector(spec)
    assert len(list(Path("data/scratch").glob(f"{experiment}-*/last.pt"))) == 1
    assert not paths.weights("tiny", experiment).exists()
    seen: list[int] = []
    before_step(monkeypatch, seen.append)
    assert trained(spec) == whole
    steps = json.loads(whole[2])["steps"]
    assert seen == list(range(4 * batches, steps * batches))  # what came after the checkpoint, alone
    assert not list(Path("data/scratch").glob("*"))  # a finished training leaves no checkpoint


def test_checkpoint_of_other_parameters_is_not_taken(tiny_project, monkeypatch):
    with monkeypatch.context() as patch:
        before_step(patch, cut_power_at(5))
        with pytest.raises(CutError):
            train_detector(tiny.spec("dst_frcnn_r50_fpn_1x"))
    other = tiny.spec("dst_frcnn_r50_fpn_1x", lr=0.02)
    assert trained(other) == trained(other)


def test_sigterm_saves_the_step_and_hands_the_handler_back(tiny_project, monkeypatch):
    spec = tiny.spec("dst_frcnn_r50_fpn_1x")
    whole, before = trained(spec), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        before_step(patch, lambda number: os.kill(os.getpid(), signal.SIGTERM) if number == 2 else None)
        with pytest.raises(loop.Stopped, match="stopped after step 3 of 6") as stopped:
            train_detector(spec)
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert trained(spec) == whole


@pytest.mark.parametrize("change", ["workers", "precision", "tensorboard"])
def test_a_setting_of_the_machine_that_changes_keeps_the_checkpoint(tiny_project, monkeypatch, change):
    if change == "tensorboard":
        pytest.importorskip("tensorboard")
    spec, found = tiny.spec("dst_frcnn_r50_fpn_1x_dst", steps=4, checkpoint_rows=4, precision="auto"), ["bf16"]
    monkeypatch.setattr(detection, "choose_precision", lambda preset, device: found[0])
    with monkeypatch.context() as patch:
        before_step(patch, cut_power_at(2))
        with pytest.raises(CutError):
            train_detector(spec)
    if change == "precision":
        found[0] = "fp32"
    else:
        monkeypatch.setenv(f"SCALEWISE_{change.upper()}", "1")
    seen: list[int] = []
    before_step(monkeypatch, seen.append)
    train_detector(spec)
    assert seen == [2, 3]
    assert json.loads(paths.training_summary("tiny", spec.name).read_bytes())["precision"] == found[0]


def test_accumulated_batches_and_averaged_weights_train_another_network(tiny_project):
    found = set()
    for options in ({}, {"accumulate": 2}, {"ema": 0.9}):
        weights, _, summary = trained(tiny.spec(DST, steps=3, **options))
        found.add(weights)
        summary = json.loads(summary)
        assert summary["images_seen"] == 2 * 3 * options.get("accumulate", 1)
        assert (summary["batch"], summary["lr_rule"]) == (2 * options.get("accumulate", 1), "preset")
    assert len(found) == 3


def test_interrupted_pretraining_ends_with_the_same_bytes(tiny_project, monkeypatch):
    spec = tiny.spec("resnet50")
    files = [paths.init("tiny", "resnet50"), paths.history("tiny", "resnet50")]
    pretrain(spec)
    whole = [path.read_bytes() for path in files]
    calls: list[int] = []
    original = crops.augment

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise CutError
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(crops, "augment", failing)
        with pytest.raises(CutError):
            pretrain(spec)
    pretrain(spec)
    assert [path.read_bytes() for path in files] == whole


@pytest.mark.parametrize("experiment", ["dst_frcnn_r50_fpn_1x_dst", "snip_drfcn_r50_7ep_snip"])
def test_same_seed_gives_the_same_metrics_file(tiny_project, experiment):
    spec = spec_of(experiment)
    test = next(iter(spec.experiment.tests))
    name = paths.evaluation_name(experiment, test)

    def run() -> list[bytes]:
        train_detector(spec)
        predict(spec, test)
        score(spec, test)
        files = (paths.detections("tiny", name), paths.metrics("tiny", name), paths.bootstrap("tiny", name))
        return [path.read_bytes() for path in files]

    first = run()
    assert run() == first
    assert json.loads(first[0])  # there are detections to compare


def test_worker_processes_change_nothing(tiny_project, monkeypatch):
    found = []
    for workers in "01":
        monkeypatch.setenv("SCALEWISE_WORKERS", workers)
        found.append(trained(tiny.spec(DST)))
    assert found[0] == found[1]


def test_a_pyramid_shows_whole_images_first_and_its_chips_and_ranges_from_the_switch_on(tiny_project):
    spec = tiny.c4("snip_drfcn_r50_7ep_snip", steps=12, log_rows=200)  # 12 steps of 2 of 10 images are 2.4 epochs
    train_detector(spec)
    summary = json.loads(paths.training_summary("tiny", spec.name).read_bytes())
    facts, sides = summary["pyramid"], ("1400", "800", "480")
    units = facts["units_an_image"]
    assert units["plain"] == dict.fromkeys(sides, 1.0)
    plain, ranged = (sum(units[phase].values()) for phase in ("plain", "ranged"))
    assert facts["ranges_from"] == round(12 * 3 / 7 * plain) == 15
    assert summary["steps"] == round(12 * (3 / 7 * plain + 4 / 7 * ranged))
    # Before the switch, each resolution has an equal part; after it, a part in proportion to its units.
    seen = facts["inputs_seen"]
    assert seen["plain"] == dict.fromkeys(sides, 10)
    assert sum(seen["ranged"].values()) == 2 * (summary["steps"] - 15)
    most = max(sides, key=lambda side: units["ranged"][side])
    assert max(seen["ranged"], key=seen["ranged"].get) == most

    rows = list(csv.DictReader(paths.history("tiny", spec.name).read_text().splitlines()))
    early = [float(row[f"valid_{side}"]) for row in rows[:15] for side in sides if row[f"valid_{side}"]]
    assert len(early) == 15
    assert set(early) == {1.0}
    for side in sides:
        values = [float(row[f"valid_{side}"]) for row in rows[15:] if row[f"valid_{side}"]]
        assert summary["valid_objects"].get(side) == (
            pytest.approx(sum(values) / len(values), abs=1e-5) if values else None
        )
    assert min(summary["valid_objects"].values()) < 1

    everywhere = tiny.c4("snip_drfcn_r50_7ep_ms_train")
    train_detector(everywhere)
    summary = json.loads(paths.training_summary("tiny", everywhere.name).read_bytes())
    assert (summary["steps"], summary["pyramid"]["ranges_from"], summary["valid_objects"]) == (18, None, None)


def test_loss_that_is_not_finite_ends_in_one_sentence(tiny_project):
    with pytest.raises(InputError, match=r"the loss of step \d+ is not finite .* lower the learning rate of"):
        train_detector(tiny.spec("dst_frcnn_r50_fpn_1x", lr=1e30, warmup_steps=0))
    (written,) = Path("data/scratch").glob("*/nonfinite.json")
    found = json.loads(written.read_bytes())
    names = {image["id"]: image["file_name"] for image in load_split(paths.manifest("tiny"), "train")["images"]}
    assert len(found["image_ids"]) == 2
    assert found["file_names"] == [names[number] for number in found["image_ids"]]


def test_checkpoints_are_keyed_by_settings_code_and_files(empty_folder):
    spec, manifest = tiny.spec("dst_frcnn_r50_fpn_1x"), Path("manifest.json")
    computed = checkpoint_folder(spec, "train", manifest)
    assert checkpoint_folder(spec, "train") == computed  # a missing manifest is left out
    digest = paths.code_digest("tiny", "train", spec.name)
    digest.parent.mkdir(parents=True)
    digest.write_text(code_digest.experiment_digest("train", spec))
    assert checkpoint_folder(spec, "train") == computed  # with the stage `code`, and without
    manifest.write_text("{}")
    found = {computed, checkpoint_folder(spec, "train", manifest), checkpoint_folder(spec, "pretrain")}
    found.add(checkpoint_folder(tiny.spec("dst_frcnn_r50_fpn_1x", lr=0.5), "train"))
    digest.write_text(f"{code_digest.SETTINGS}{code_digest.CODE}edited\n")
    found.add(checkpoint_folder(spec, "train"))
    assert len(found) == 5
    assert len({path.name for path in found}) == 5
