"""DVC's file of locks in memory: what the link leaves alone, and that DVC's own locking works through it."""

import json
import os
import shutil

import pytest
from dvc.fs import localfs
from dvc.lock import LockError
from dvc.rwlock import rwlock

from pipeline.graph.lock_file import keep_in_memory, mend


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


@pytest.mark.parametrize(
    "text", ["", '{"write": {"/a', "[]", '{"write": 3}', '{"read": {"/a": [{"cmd": "dvc repro"}]}}']
)
@pytest.mark.parametrize("linked", [True, False])
def test_a_torn_file_is_written_anew(checkout, memory, text, linked):
    if linked:
        keep_in_memory(checkout, memory)
    locks(checkout).write_text(text)
    assert mend(checkout, memory) == ["wrote DVC's file of locks anew, torn by a killed run or a full disk"]
    with dvc_lock(checkout, "one", write=["/weights"]):
        assert locks(checkout).is_symlink() is linked
    assert mend(checkout, memory) == []


def test_holders_that_are_no_running_dvc_are_taken_out(checkout, memory):
    """Numbers of processes come again, after a restart soon: this test's own is none of DVC's."""
    holder = {"pid": os.getpid(), "cmd": "dvc repro train"}
    locks(checkout).write_text(json.dumps({"write": {"/a": holder}, "read": {"/b": [holder | {"pid": 2**22 + 1}]}}))
    assert mend(checkout, memory) == []
    assert json.loads(locks(checkout).read_text()) == {"write": {}, "read": {}}


def test_a_copied_checkout_gets_a_file_of_its_own(checkout, memory, tmp_path):
    keep_in_memory(checkout, memory)
    with dvc_lock(checkout, "one", write=["/weights"]):
        copy = shutil.copytree(checkout, tmp_path / "copy", symlinks=True)
        assert mend(copy, memory) == [f"DVC's lock file is in memory now ({locks(copy).readlink()})."]
        assert locks(copy).readlink() != locks(checkout).readlink()
        assert not locks(copy).exists()
        assert "one" in locks(checkout).read_text()


@pytest.mark.parametrize("gone", [True, False])
def test_memory_that_is_full_or_gone_leaves_the_file_on_the_disk(checkout, memory, monkeypatch, gone):
    keep_in_memory(checkout, memory)
    if gone:
        memory.rmdir()
    else:
        monkeypatch.setattr("pipeline.graph.lock_file.has_room", lambda memory: False)
    (said,) = mend(checkout, memory)
    assert "DVC's lock file stays on the disk" in said
    with dvc_lock(checkout, "one", write=["/weights"]):
        assert not locks(checkout).is_symlink()
