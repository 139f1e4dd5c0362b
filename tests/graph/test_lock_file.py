"""DVC's file of locks in memory: what the link leaves alone, and that DVC's own locking works through it."""

import json
import os

import pytest
from dvc.fs import localfs
from dvc.lock import LockError
from dvc.rwlock import rwlock

from pipeline.graph.lock_file import keep_in_memory


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "checkout" / ".dvc" / "tmp").mkdir(parents=True)
    return tmp_path / "checkout"


@pytest.fixture
def memory(tmp_path):
    (tmp_path / "memory").mkdir()
    return tmp_path / "memory"


def locks(checkout):
    return checkout / ".dvc" / "tmp" / "rwlock"


def dvc_lock(checkout, command, read=(), write=()):
    return rwlock(str(checkout / ".dvc" / "tmp"), localfs, command, list(read), list(write), False)


def test_dvc_locks_through_the_link(checkout, memory):
    assert "is in memory now" in keep_in_memory(checkout, memory)
    assert locks(checkout).is_symlink()
    assert list(memory.iterdir()) == []  # it dangles until DVC writes
    with dvc_lock(checkout, "one", write=["/weights"]):
        (file,) = memory.iterdir()
        assert json.loads(file.read_text())["write"] == {"/weights": {"pid": os.getpid(), "cmd": "one"}}
        with pytest.raises(LockError, match="/weights"), dvc_lock(checkout, "two", read=["/weights"]):
            pass
    assert locks(checkout).is_symlink()
    assert not any(json.loads(file.read_text()).values())
    file.unlink()  # a restart empties memory
    with dvc_lock(checkout, "two", read=["/weights"]):
        assert list(memory.iterdir()) == [file]


def test_a_second_call_changes_nothing(checkout, memory):
    keep_in_memory(checkout, memory)
    before = locks(checkout).lstat()
    assert "already" in keep_in_memory(checkout, memory)
    assert locks(checkout).lstat() == before


def test_two_checkouts_share_no_file(checkout, memory, tmp_path):
    (tmp_path / "other" / ".dvc").mkdir(parents=True)
    for root in (checkout, tmp_path / "other"):
        keep_in_memory(root, memory)
    assert locks(checkout).readlink() != locks(tmp_path / "other").readlink()


@pytest.mark.parametrize(("text", "moved"), [("", True), ("{}", True), ('{"write": {"/a": {"pid": 1}}}', False)])
def test_a_file_that_holds_locks_stays(checkout, memory, text, moved):
    locks(checkout).write_text(text)
    assert ("is in memory now" in keep_in_memory(checkout, memory)) is moved
    assert locks(checkout).is_symlink() is moved


def test_without_memory_or_checkout_nothing_is_made(checkout, memory, tmp_path):
    assert "stays on the disk" in keep_in_memory(checkout, tmp_path / "no_such_folder")
    assert not locks(checkout).is_symlink()
    assert "no checkout" in keep_in_memory(tmp_path, memory)
    assert list(memory.iterdir()) == []
