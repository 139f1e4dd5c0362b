"""dvc.lock after a kill or a full disk: which records come back, from where, and what is left alone."""

import subprocess

import pytest

from pipeline import paths
from pipeline.graph import locks

RECORD = """\
  train@{name}:
    cmd: python -m train {name}
    deps:
    - path: init.safetensors
      hash: md5
      md5: {md5}
      size: 10
    outs:
    - path: {name}/weights.safetensors
      hash: md5
      md5: {md5}
      size: 7123
"""


def lock(*names, md5="a"):
    return locks.HEAD + "".join(RECORD.format(name=name, md5=md5 * 32) for name in names)


WHOLE = lock("a", "b", "c")
SECOND, THIRD = WHOLE.index("  train@b"), WHOLE.index("  train@c")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "dvc.lock").write_text(WHOLE)
    return tmp_path


def git(root, *words):
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        locks.HEAD,
        WHOLE[:5],
        WHOLE[:SECOND],  # at a record's border: YAML without a fault
        WHOLE[:THIRD],
        WHOLE[: THIRD + 60],  # within a line
        WHOLE[: WHOLE.rindex("      size: ")],  # within an output
        WHOLE[: WHOLE.rindex("    outs:")],
        WHOLE[:-2],  # within the last size
        WHOLE[:SECOND] + "\0" * 300 + WHOLE[THIRD:],  # after a power cut
        WHOLE[:SECOND] + "<<<<<<< HEAD\n" + WHOLE[SECOND:],
    ],
)
@pytest.mark.parametrize("kept", [True, False])
def test_lost_records_come_back_from_the_copy_or_from_git(root, text, kept):
    if kept:
        assert locks.mend() == []
    else:
        git(root, "init", "-q")
        git(root, "add", "dvc.lock")
        git(root, "commit", "-qm", "results")
    (root / "dvc.lock").write_text(text)
    (said,) = locks.mend()
    assert said.startswith("mended dvc.lock, torn by a killed run or a full disk")
    assert (root / "dvc.lock").read_text() == WHOLE
    assert locks.mend() == []


def test_new_records_of_a_torn_lock_stay(root):
    locks.mend()
    newer = lock("a", "b", md5="b")
    (root / "dvc.lock").write_text(newer[:-4])
    locks.mend()
    assert (root / "dvc.lock").read_text() == lock("a", md5="b") + WHOLE[SECOND:]


def test_whole_records_of_a_torn_lock_stay_where_nothing_else_is_known(root):
    (root / "dvc.lock").write_text(WHOLE[:-10])
    assert "0 records put back" in locks.mend()[0]
    assert (root / "dvc.lock").read_text() == WHOLE[:THIRD]


def test_a_lock_as_committed_or_taken_away_is_left_alone(root):
    git(root, "init", "-q")
    (root / "dvc.lock").write_text(WHOLE[:SECOND])
    git(root, "add", "dvc.lock")
    git(root, "commit", "-qm", "one record")
    (root / "dvc.lock").write_text(WHOLE)
    assert locks.mend() == []  # built since
    (root / "dvc.lock").write_text(WHOLE[:SECOND])  # `git checkout .`
    assert locks.mend() == []
    assert (root / "dvc.lock").read_text() == WHOLE[:SECOND]
    git(root, "rm", "-q", "dvc.lock")
    git(root, "commit", "-qm", "none")
    assert locks.mend() == []
    assert not (root / "dvc.lock").exists()


def test_only_whole_locks_are_kept_while_dvc_is_at_work(root):
    locks.mend()
    kept = root / locks.KEPT / "dvc.lock"
    for text in ("", WHOLE[:THIRD], WHOLE + RECORD.format(name="d", md5="d" * 32)[:-20]):
        (root / "dvc.lock").write_text(text)
        locks.keep()
        assert kept.read_text() == WHOLE
    (root / "dvc.lock").write_text(lock("a", "b", "c", "d", md5="b"))
    locks.keep()
    assert kept.read_text() == lock("a", "b", "c", "d", md5="b")
    (root / "dvc.lock").write_text(WHOLE[:THIRD])  # a stage that is gone, after a build
    locks.keep(finished=True)
    assert kept.read_text() == WHOLE[:THIRD]
