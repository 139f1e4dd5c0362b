"""Locks signed anew: what may differ from the record, what may not, and what is written."""

import hashlib
from dataclasses import replace

import pytest
import yaml

from pipeline.graph.declared import Stage
from pipeline.graph.signing import Signer


def entry(path, content):
    return {"path": path, "hash": "md5", "md5": hashlib.md5(content.encode()).hexdigest(), "size": len(content)}


TRAIN = Stage("train@a", "train a", ("data/code/train.txt", "data/raw.json", "recipe.yaml"), ("weights", "log.csv"))
TABLE = Stage("sub/dvc.yaml:t1", "table t1", ("data/code/table.txt", "log.csv"), ("reports/t1.md",))
KNOWN = {stage.address: stage for stage in (TRAIN, TABLE)}


@pytest.fixture
def root(tmp_path):
    """Records made with digests `old`, where the digests are `new` now; the weights are not there, as in a clone."""
    files = {"data/code/train.txt": "new", "data/code/table.txt": "new", "data/raw.json": "raw", "recipe.yaml": "lr: 1"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    train = {
        "cmd": "train a",
        "deps": [entry("data/code/train.txt", "old"), entry("data/raw.json", "raw"), entry("recipe.yaml", "lr: 1")],
        "outs": [entry("log.csv", "loss"), entry("weights", "w")],
    }
    deps = [entry("data/code/table.txt", "old"), entry("log.csv", "loss")]
    table = {"cmd": "table t1", "deps": deps, "outs": [entry("reports/t1.md", "AP")]}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"train@a": train}}))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"t1": table}}))
    return tmp_path


def test_new_digests_are_signed_and_then_nothing_is_stale(root):
    signer = Signer(KNOWN, root)
    stale, blocked = signer.stale()
    assert set(stale) == set(KNOWN)
    assert not blocked
    assert [str(lock) for lock in signer.sign(stale)] == ["dvc.lock", "sub/dvc.lock"]
    record = yaml.safe_load((root / "sub/dvc.lock").read_text())["stages"]["t1"]
    assert record["deps"] == [entry("data/code/table.txt", "new"), entry("log.csv", "loss")]
    assert record["outs"] == [entry("reports/t1.md", "AP")]
    assert Signer(KNOWN, root).stale() == ({}, {})


def test_a_new_command_and_fewer_inputs_are_signed_too(root):
    known = KNOWN | {"train@a": replace(TRAIN, command="train a --fast", deps=TRAIN.deps[:2])}
    signer = Signer(known, root)
    signer.sign(signer.stale()[0])
    record = yaml.safe_load((root / "dvc.lock").read_text())["stages"]["train@a"]
    assert record["cmd"] == "train a --fast"
    assert [dep["path"] for dep in record["deps"]] == ["data/code/train.txt", "data/raw.json"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"data/raw.json": "other"}, "data/raw.json"),
        ({"recipe.yaml": None}, "recipe.yaml"),
        ({"data/code/train.txt": None}, "data/code/train.txt"),
    ],
)
def test_another_input_is_never_signed(root, change, named):
    for name, content in change.items():
        (root / name).unlink() if content is None else (root / name).write_text(content)
    stale, blocked = Signer(KNOWN, root).stale()
    assert "train@a" not in stale
    assert named in blocked["train@a"]
    assert "sub/dvc.yaml:t1" in stale


def test_another_output_is_never_signed(root):
    known = KNOWN | {"train@a": replace(TRAIN, outs=("weights", "log.csv", "summary.json"))}
    assert "writes other files" in Signer(known, root).stale()[1]["train@a"]


def test_results_of_another_training_are_never_signed(root):
    text = (root / "dvc.lock").read_text().replace(entry("", "loss")["md5"], "f" * 32)  # the training ran again
    (root / "dvc.lock").write_text(text)
    assert "log.csv" in Signer(KNOWN, root).stale()[1]["sub/dvc.yaml:t1"]
