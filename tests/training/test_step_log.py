"""The log of every step: whole lines only, none beyond the checkpoint, never a reason to stop."""

import json
from pathlib import Path

import pytest
import toy

from pipeline.errors import InputError
from pipeline.training.history import History
from pipeline.training.step_log import StepLog, kept_lines

PUBLISHED = Path("data/logs/tiny/dst_frcnn_r50_fpn_1x.jsonl")


pytestmark = pytest.mark.usefixtures("empty_folder")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_a_step_with_losses_rate_and_timing():
    facts, history, _ = toy.train(steps=6)
    found = lines(PUBLISHED)
    assert [line["step"] for line in found] == [1, 2, 3, 4, 5, 6]
    assert [line["loss"] for line in found[:2]] == [1.0, 1.75]
    assert set(found[0]) == {"step", "lr", "loss", "loss_mean", "images", "collage", "seconds", "waited", "images_per_second"}  # fmt: skip # noqa: E501
    assert {line["waited"] for line in found} == {0.25}
    assert {line["lr"] for line in found} == {0.125}
    assert found[3]["images_per_second"] == pytest.approx(1 / found[3]["seconds"], rel=1e-4)
    timing = {"seconds", "waited", "images_per_second"}  # no part of a result
    assert not timing & {*facts, *history.sums, *history.rows[0]}
    assert not PUBLISHED.with_suffix("").exists()  # no event files unless asked for


def test_a_resumed_training_has_every_step_once():
    with pytest.raises(toy.CutError):
        toy.train(steps=6, stop=3)
    assert [line["step"] for line in lines(Path("scratch/log.jsonl"))] == [1, 2, 3]  # while the training runs
    assert not PUBLISHED.exists()
    with open("scratch/log.jsonl", "a") as stream:
        stream.write('{"step": 4, "lo')  # killed within a write
    toy.train(steps=6)
    assert [line["step"] for line in lines(PUBLISHED)] == [1, 2, 3, 4, 5, 6]


def test_only_whole_lines_up_to_the_checkpoint_are_kept(tmp_path):
    path = tmp_path / "log.jsonl"
    assert kept_lines(path, 5) == []
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    assert kept_lines(path, 0) == []
    assert kept_lines(path, 2) == ['{"step": 1}\n', '{"step": 2}\n']
    assert len(kept_lines(path, 9)) == 3
    path.write_bytes(b'{"step": 1}\n\xff\xfe\n{"step": 2}\n')
    assert kept_lines(path, 9) == ['{"step": 1}\n']


def test_quantities_that_do_not_exist_are_left_out():
    log = StepLog(Path("scratch"), PUBLISHED, 0, History(2, 2))
    assert log.add({"step": 1, "loss": 1 / 3, "share": None, "other": float("nan"), "images": 2}) > 0
    found = lines(Path("scratch/log.jsonl"))[0]
    assert found["loss"] == 0.333333
    assert not {"share", "other", "waited"} & set(found)


def test_a_full_disk_ends_the_log_and_not_the_training(capsys, monkeypatch):
    original = StepLog.add

    def full(self, values, waited=None):
        if values["step"] == 3:
            self.stream.close()
            self.stream = open("/dev/full", "ab", buffering=0)  # noqa: SIM115
        return original(self, values, waited)

    monkeypatch.setattr(StepLog, "add", full)
    _, history, _ = toy.train(steps=6)
    told = capsys.readouterr().err
    assert told.count("log.jsonl cannot be written") == 1
    assert "No space left on device" in told
    assert history.rows[-1]["step"] == 6
    assert not PUBLISHED.exists()


def test_event_files_hold_the_history(monkeypatch):
    monkeypatch.setenv("SCALEWISE_TENSORBOARD", "true")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = PUBLISHED.with_suffix("")
    folder.mkdir(parents=True)
    (folder / "events.out.tfevents.1.old").write_bytes(b"")
    with pytest.raises(toy.CutError):
        toy.train(steps=6, stop=3)
    assert not (folder / "events.out.tfevents.1.old").exists()
    _, history, _ = toy.train(steps=6)
    events = EventAccumulator(str(folder))
    events.Reload()
    assert {"loss", "lr", "collage"} <= set(events.Tags()["scalars"])
    found = {event.step: event.value for event in events.Scalars("loss")}
    assert found == pytest.approx({row["step"]: row["loss"] for row in history.rows})
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]  # step 3 of the first start is purged


def test_event_files_without_their_package(monkeypatch):
    monkeypatch.setenv("SCALEWISE_TENSORBOARD", "1")
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="package is missing; pip install tensorboard, or set it to false"):
        toy.train(steps=6)
