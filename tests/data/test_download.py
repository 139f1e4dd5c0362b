"""Downloads from a server that breaks connections, lies and gives the wrong file."""

import errno
import fcntl
import hashlib
import os
import random
from pathlib import Path

import pytest
from unreliable_server import Server

from pipeline.data.fetching import download as module
from pipeline.data.fetching.download import Patience, download
from pipeline.errors import InputError

SIZE = 300_000
CONTENT = random.Random(0).randbytes(SIZE)
SHA256 = ("sha256", hashlib.sha256(CONTENT).hexdigest())
QUICK = Patience(attempts=3, wait=0.01)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "archives/file.zip"


def get(server, target, size=SIZE, checksum=SHA256, names=("file.zip",)):
    return download([server.url(name) for name in names], target, size, checksum, QUICK)


def refused(server, target, match, **arguments) -> str:
    """Return the sentence of a download that fails and leaves no file in place."""
    with pytest.raises(InputError, match=match) as error:
        get(server, target, **arguments)
    assert not target.exists()
    assert "\n" not in str(error.value)
    assert "--mirror" in str(error.value)
    return str(error.value)


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_whole_file_arrives_at_once(server, target):
    served = server.add("file.zip", CONTENT)
    assert get(server, target) == server.url("file.zip")
    assert target.read_bytes() == CONTENT
    assert left(target) == ["file.zip"]
    assert "Range" not in served.requests[0]


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"breaks_after": [100_000, 50_000]}, [None, "bytes=100000-", "bytes=150000-"]),
        ({"breaks_after": [100_000], "ranges": False}, [None, "bytes=100000-"]),  # it starts again
        ({"announce": False}, [None]),  # no length
        ({"announce": False, "breaks_after": [100_000]}, [None, "bytes=100000-"]),
        ({"status": [503, 429]}, [None, None, None]),  # busy
    ],
)
def test_a_file_arrives_from_a_server_with_faults(server, target, given, asked):
    served = server.add("file.zip", CONTENT, **given)
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert left(target) == ["file.zip"]
    assert [request.get("Range") for request in served.requests] == asked
    assert all(request["If-Range"] == served.tag for request in served.requests if "Range" in request)


def test_a_killed_download_is_continued_by_the_next(server, target):
    served = server.add("file.zip", CONTENT, breaks_after=[200_000])
    target.parent.mkdir()
    part = target.with_name("file.zip.part")
    part.write_bytes(CONTENT[:120_000])
    part.with_name("file.zip.part.json").write_text(f'{{"url": "{server.url("file.zip")}", "validator": null}}')
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert served.requests[0]["Range"] == "bytes=120000-"
    assert left(target) == ["file.zip"]


def test_a_server_without_ranges_that_always_breaks_is_given_up(server, target):
    served = server.add("file.zip", CONTENT, ranges=False, breaks_after=[1000] * 20)
    assert "1000 bytes are kept" in refused(server, target, "broke the connection .*3 times in a row")
    assert len(served.requests) == 4  # the first one brought new bytes


@pytest.mark.parametrize(
    ("tagged", "checksum", "asked"),
    [
        (True, None, [None, "bytes=100000-"]),  # no checksum: the ETag alone shows it
        (False, SHA256, [None, "bytes=100000-", None]),  # pieces of two versions are found out by the checksum
    ],
)
def test_a_file_that_changes_between_two_attempts_is_taken_anew(server, target, tagged, checksum, asked):
    old = random.Random(1).randbytes(len(CONTENT))

    def change(served):
        served.content = CONTENT

    served = server.add("file.zip", old, breaks_after=[100_000], tagged=tagged, change=change)
    get(server, target, checksum=checksum)
    assert target.read_bytes() == CONTENT
    assert [request.get("Range") for request in served.requests] == asked


LOGIN = b"<!DOCTYPE html><html>Please log in</html>"


@pytest.mark.parametrize(
    ("content", "given", "size", "match", "most"),
    [
        (CONTENT, {"length": SIZE + 5000}, SIZE, "offers 305000 bytes where 300000 are expected", 1),
        (CONTENT, {"length": SIZE - 5000}, SIZE, "offers 295000 bytes where 300000 are expected", 1),
        (CONTENT, {"length": SIZE + 5000}, None, "no byte after those|broke the connection", 8),
        (CONTENT, {"length": SIZE - 5000}, None, "gave a wrong file .SHA256", 1),
        (CONTENT * 20, {"announce": False}, SIZE, "sends more than the 300000 bytes", 1),
        # In one piece: asking again would give the same.
        (CONTENT[::-1], {}, SIZE, "gave a wrong file .SHA256 [0-9a-f]{64} where [0-9a-f]{64} is expected", 1),
        (LOGIN, {"kind": "text/html; charset=utf-8"}, None, "sent a web page", 1),
        (b"\n<HTML>Please log in</HTML>", {"kind": "application/octet-stream"}, None, "sent a web page", 1),
        (None, {}, SIZE, "answered 404 Not Found", 0),
        (CONTENT, {"status": [503] * 20}, SIZE, "answered 503 Service Unavailable, 3 times in a row", 3),
    ],
)
def test_what_is_not_the_file_is_refused(server, target, content, given, size, match, most):
    served = server.add("file.zip", content, **given) if content else None
    refused(server, target, match, size=size)
    assert len(served.requests if served else []) <= most
    if "wrong file" in match:
        assert left(target) == []


def test_without_tag_and_checksum_nothing_is_continued(server, target):
    served = server.add("file.zip", CONTENT, breaks_after=[100_000], tagged=False)
    get(server, target, checksum=None)
    assert target.read_bytes() == CONTENT
    assert [request.get("Range") for request in served.requests] == [None, None]


def test_the_next_address_is_taken_where_one_fails(server, target):
    server.add("wrong.zip", CONTENT[::-1])
    server.add("right.zip", CONTENT)
    assert get(server, target, names=["absent.zip", "wrong.zip", "right.zip"]) == server.url("right.zip")
    assert target.read_bytes() == CONTENT


def test_another_address_continues_where_the_first_gave_up(server, target):
    server.add("one.zip", CONTENT, breaks_after=[90_000, 0, 0, 0, 0])
    served = server.add("two.zip", CONTENT)
    get(server, target, names=["one.zip", "two.zip"])
    assert target.read_bytes() == CONTENT
    assert served.requests[0]["Range"] == "bytes=90000-"
    assert "If-Range" not in served.requests[0]  # a tag of the other address


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/file.zip", "file.zip", "http://"])
def test_an_address_that_is_none_is_named(server, target, url):
    with pytest.raises(InputError, match="cannot be asked"):
        download([url], target, None, None, QUICK)


def test_nobody_there(tmp_path, target):
    with Server() as gone:
        url = gone.url("file.zip")
    with pytest.raises(InputError, match=r"broke the connection \(ConnectionError\), 3 times in a row;"):
        download([url], target, 1, None, QUICK)


def test_a_full_disk_is_named_and_the_part_kept(server, target, monkeypatch):
    server.add("file.zip", CONTENT)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "copy", full)
    with pytest.raises(InputError, match=r"The disk is full while .*file.zip.part is written; free space"):
        get(server, target)
    assert not target.exists()


def test_two_downloads_of_one_file_do_not_mix(server, target):
    server.add("file.zip", CONTENT)
    target.parent.mkdir()
    with open(target.with_name("file.zip.part.lock"), "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"Another process is downloading file\.zip"):
            get(server, target)
    get(server, target)
    assert target.read_bytes() == CONTENT
