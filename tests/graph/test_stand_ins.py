"""Weights made again with other bytes: records and locks before and after, on two stages in a folder of their own."""

import pytest

from pipeline import paths
from pipeline.graph import stand_ins
from pipeline.graph.declared import Stage

INIT = Stage("pretrain@r50", "", ("code.txt",), ("init.safetensors", "history.csv"))
LOCK = """\
schema: '2.0'
stages:
  pretrain@r50:
    cmd: python -m pretrain
    outs:
    - path: init.safetensors
      hash: md5
      md5: {init}
      size: {size}
    - path: history.csv
      hash: md5
      md5: {history}
      size: 7
  train@a:
    cmd: python -m train
    deps:
    - path: init.safetensors
      hash: md5
      md5: {used}
      size: {used_size}
"""
OLD, NEW, RECORD = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "dvc.lock").write_text(LOCK.format(init=OLD, size=10, history=RECORD, used=OLD, used_size=10))
    (tmp_path / "history.csv").write_text("then\n")
    return tmp_path


def pretrain(root, md5=NEW, size=12):
    """Do what the stage does on another processor: other weights, another history, and DVC's lock of both."""

    def run(files):
        assert files == ["init.safetensors"]
        (root / "init.safetensors").write_text("weights")
        (root / "history.csv").write_text("now\n")
        (root / "dvc.lock").write_text(LOCK.format(init=md5, size=size, history="d" * 32, used=OLD, used_size=10))

    return run


def test_records_stay_and_locks_name_the_new_bytes(root):
    (said,) = stand_ins.make([INIT], pretrain(root))
    assert said.strip().startswith("init.safetensors came out with other bytes")
    assert (root / "history.csv").read_text() == "then\n"
    # The committed training stands: its lock names the stand-in.
    assert (root / "dvc.lock").read_text() == LOCK.format(init=NEW, size=12, history=RECORD, used=NEW, used_size=12)
    assert (root / "init.safetensors").read_text() == "weights"
    assert not (root / stand_ins.KEPT).exists()


def test_equal_bytes_change_nothing(root):
    before = (root / "dvc.lock").read_text()
    assert stand_ins.make([INIT], pretrain(root, OLD, 10)) == []
    assert (root / "dvc.lock").read_text() == before
    assert (root / "history.csv").read_text() == "then\n"


@pytest.mark.parametrize("torn", [False, True])
def test_a_kill_in_between_loses_nothing(root, torn):
    before = (root / "dvc.lock").read_text()
    stand_ins.keep([INIT])
    pretrain(root)(["init.safetensors"])
    if torn:
        (root / "dvc.lock").write_text("schema: '2.0'\nstages:\n  pretrain@r50: {outs: [")
    said = stand_ins.finish()  # what the next build begins with
    assert len(said) == (0 if torn else 1)
    assert (root / "history.csv").read_text() == "then\n"
    expected = LOCK.format(init=NEW, size=12, history=RECORD, used=NEW, used_size=12)
    assert (root / "dvc.lock").read_text() == (before if torn else expected)
    assert stand_ins.finish() == []


def test_a_failure_puts_records_and_locks_back(root):
    before = (root / "dvc.lock").read_text()

    def fail(files):
        (root / "history.csv").unlink()  # Snakemake removes a failed job's outputs
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        stand_ins.make([INIT], fail)
    assert (root / "history.csv").read_text() == "then\n"
    assert (root / "dvc.lock").read_text() == before


def test_a_hash_of_digits_alone_stays_a_text():
    digits = {"md5": "1" * 32, "size": 3}
    lock = stand_ins.renamed(f"md5: {OLD}\n      size: 10\n", [({"md5": OLD, "size": 10}, digits)])
    assert lock == f"md5: '{'1' * 32}'\n      size: 3\n"
    assert stand_ins.renamed(lock, [(digits, {"md5": OLD, "size": 10})]) == f"md5: {OLD}\n      size: 10\n"
