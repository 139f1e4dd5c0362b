"""The exercise at full size: what it copies, that it kills and resumes, and its page; the real run takes minutes."""

import sys

import pytest

from pipeline import config, files, paths
from pipeline.benchmarks import full_size
from pipeline.errors import InputError
from pipeline.preset import ModelSize

# Stands for every stage: a training of 6 steps, each with a checkpoint; the others write what the exercise reads.
STAGE = """
import sys, time
from pathlib import Path
from pipeline import files, paths
from pipeline.training.checkpoint import Checkpoints
step, name, preset = sys.argv[1], sys.argv[2], "full_subset"
if step == "train":
    folder = Checkpoints(Path(f"data/scratch/{name}-0"))
    state = folder.load() or {"step": 0, "starts": 0}
    starts = state["starts"] + 1
    for done in range(state["step"] + 1, 7):
        time.sleep(0.3 if starts == 1 else 0)
        folder.save({"step": done, "starts": starts})
    files.write_text(paths.history(preset, name), "step,loss\\n1,2.5\\n6,2.0\\n")
    files.write_json(paths.training_summary(preset, name), {
        "steps": 6, "images_seen": 12, "loss_first": 2.5, "loss_last": 2.0, "collage_share": 0.5,
        "valid_objects": {"800": 0.25}, "precision": f"started {starts} times"})
elif step == "predict":
    files.write_json(paths.detections(preset, name), [{}] * 7)
elif step == "evaluate":
    files.write_json(paths.metrics(preset, name), {"ap": 0.125})
elif step == "pretrain":
    files.write_text(paths.init(preset, name), "init")
"""


def fake(step: str, *names: str) -> list[str]:
    return [sys.executable, "-c", STAGE, step, *(names or ("none",))]


@pytest.mark.slow
def test_a_training_is_killed_resumed_and_scored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(full_size, "command", fake)
    project = full_size.prepare(6)
    row = full_size.exercise(project, "dst_frcnn_r50_fpn_1x_dst")
    assert 3 <= row["killed_after"] < 6
    assert (row["steps"], row["logged_steps"], row["detections"], row["ap"]) == (6, 2, 7, 0.125)
    assert row["precision"] == "started 2 times"
    assert row["input"] == [800, 1333]
    assert set(row["seconds"]) == {"killed_training", "resumed_training", "predict", "evaluate"}


def test_a_stage_that_fails_ends_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(full_size, "command", lambda *words: [sys.executable, "-c", "raise SystemExit(3)"])
    project = full_size.prepare(None)
    with pytest.raises(InputError, match="Stage verify ended with 3"):
        full_size.stage(project, "verify")
    with pytest.raises(InputError, match="ended with code 3 before it could be killed"):
        full_size.killed_training(project, "dst_frcnn_r50_fpn_1x_dst")


def test_the_copy_trains_as_long_as_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = full_size.prepare(200)
    settings = files.read_yaml(project / paths.preset_file("full_subset"))
    assert settings["training"]["steps"] == 200
    assert files.read_yaml(paths.ROOT / paths.preset_file("full_subset"))["training"]["steps"] == 6
    assert (project / "pipeline/stages/train.py").is_file()
    with pytest.raises(InputError, match="--steps is 1,"):
        full_size.prepare(1)


@pytest.mark.parametrize("there", [False, True])
def test_photographs_beside_the_project_are_linked_where_there_are_any(tmp_path, monkeypatch, there):
    """Absent they are no error, and a link that leads nowhere, as an earlier run may have left it, is laid anew."""
    project, copy = tmp_path / "clone", tmp_path / "work"
    (project / "data").mkdir(parents=True)
    photograph = tmp_path / "shared/a.jpg"
    if there:
        photograph.parent.mkdir()
        photograph.touch()
    link = copy / "data/scratch/full_size/shared"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(copy)
    monkeypatch.setattr(full_size.paths, "ROOT", project)
    monkeypatch.setattr(full_size, "COPIED", ("data",))
    for _ in range(2):
        full_size.prepare(None)
        assert (link / "a.jpg").exists() == there


def test_the_experiments_are_one_a_paper_at_the_papers_size():
    specs = [config.resolve(name, "full_subset") for name in full_size.EXPERIMENTS]
    assert [spec.paper for spec in specs] == list(paths.PAPERS)
    assert {spec.preset.factor for spec in specs} == {1.0}
    own = ModelSize(score_threshold=0.001)  # all else is the papers'
    assert all(spec.preset.model == own for spec in specs)
