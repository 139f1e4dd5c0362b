"""Unpacking: what fits arrives whole, and no malicious archive writes a byte outside or leaves half a folder."""

import errno
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.data.fetching import archives
from pipeline.data.fetching.archives import fits, unpack
from pipeline.errors import InputError

LIMIT = 10_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outer/data"


def zipped(path: Path, members: list[tuple[str, bytes]], **mode: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode.get("mode", stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return path


def tarred(path: Path, members: list[tuple[str, bytes | tarfile.TarInfo]], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                archive.addfile(info)
    return path


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def refused(archive: Path, folder: Path, match: str, patterns=("*", "*/*"), limit=LIMIT, files=None) -> None:
    before = sorted(folder.rglob("*")) if folder.exists() else []
    outside = sorted(folder.parent.parent.iterdir()) if folder.parent.exists() else None
    with pytest.raises(InputError, match=match) as error:
        unpack(archive, folder, patterns, limit, files)
    assert "\n" not in str(error.value)
    assert sorted(folder.rglob("*")) == before
    if outside is not None:
        assert sorted(folder.parent.parent.iterdir()) == outside


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


FILES = [("train/a.jpg", b"aa"), ("train/b.jpg", b"b" * 100), ("notes.txt", b"n"), ("train/deep/c.jpg", b"c")]


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz"])
def test_wanted_members_arrive_and_nothing_else(tmp_path, folder, mode):
    path = tmp_path / "archive"
    archive = zipped(path, FILES) if mode == "zip" else tarred(path, FILES, mode)
    assert unpack(archive, folder, ["train/*.jpg"], LIMIT, files=2) == 2
    assert contents(folder) == dict(FILES[:2])


def test_a_second_archive_joins_the_folders_of_the_first(tmp_path, folder):
    unpack(tarred(tmp_path / "1", [("d/a", b"1"), ("d/b", b"1")]), folder, ["d/*"], LIMIT)
    unpack(tarred(tmp_path / "2", [("d/b", b"2"), ("e/c", b"2")]), folder, ["*/*"], LIMIT)
    assert contents(folder) == {"d/a": b"1", "d/b": b"2", "e/c": b"2"}


def test_what_a_killed_process_left_is_replaced(tmp_path, folder):
    left = folder / ".unpacking-1/d"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    unpack(tarred(tmp_path / "1", [("d/a", b"1")]), folder, ["d/*"], LIMIT)
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*")) == ["d", "d/a"]


NAMES = ["../evil", "d/../../evil", "/evil", "d//evil", "..", "C:/evil", "d\\..\\evil"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_paths_that_lead_elsewhere_are_refused(tmp_path, folder, name, make):
    archive = make(tmp_path / "archive", [("good", b"1"), (name, b"2")])
    refused(archive, folder, "archive holds .*elsewhere")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE], ids=str
)
def test_links_and_devices_of_a_tar_are_refused(tmp_path, folder, kind):
    members = [("good", b"1"), ("bad", special(kind, "../../secret")), ("bad/file", b"2")]
    refused(tarred(tmp_path / "archive", members), folder, "'bad', a link or a device")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_of_a_zip_are_refused(tmp_path, folder, kind):
    archive = zipped(tmp_path / "archive", [("bad", b"/etc/passwd")], mode=kind | 0o777)
    refused(archive, folder, "'bad', a link or a device")


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize(
    ("members", "match"),
    [
        ([("zeros", bytes(20_000_000))], "unpacks to more than the 10000 bytes"),  # a bomb, by what it declares
        ([("a", b"1"), ("a", b"2")], "holds a twice"),
        ([("a", b"1"), ("a/b", b"2")], "cannot be written"),  # a file in the place of a folder
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_cannot_be_are_refused(tmp_path, folder, make, members, match):
    archive = make(tmp_path / "archive", members)
    assert archive.stat().st_size < 100_000
    refused(archive, folder, match)


def test_many_small_members_count_together(tmp_path, folder):
    archive = zipped(tmp_path / "archive", [(f"f{k}", bytes(999)) for k in range(11)])
    refused(archive, folder, "more than the 10000 bytes")
    assert unpack(archive, folder, ["f?"], LIMIT) == 10


def declare_less(raw: bytearray) -> None:
    entry = raw.index(b"PK\x01\x02")
    for place in (22, entry + 24):  # uncompressed size, in the local header and in the directory
        raw[place : place + 4] = (100).to_bytes(4, "little")


def change_a_byte(raw: bytearray) -> None:
    raw[len(raw) // 2] ^= 1


def encrypt(raw: bytearray) -> None:
    raw[raw.index(b"PK\x01\x02") + 8] |= 1


@pytest.mark.parametrize(
    ("content", "spoil", "match"),
    [
        (bytes(50_000), declare_less, "archive is damaged .Bad CRC|not as long as"),
        (os.urandom(5000), change_a_byte, "archive is damaged"),
        (b"1", encrypt, "'a', encrypted"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_zip_that_is_not_what_it_says_is_refused(tmp_path, folder, content, spoil, match):
    archive = zipped(tmp_path / "archive", [("a", content)])
    raw = bytearray(archive.read_bytes())
    spoil(raw)
    archive.write_bytes(raw)
    refused(archive, folder, match)


def test_a_file_where_a_folder_is_already_is_refused(tmp_path, folder):
    (folder / "a").mkdir(parents=True)
    refused(zipped(tmp_path / "archive", [("a", b"1")]), folder, "cannot be written .Is a directory")


@pytest.mark.parametrize("files", [1, 3])
def test_the_number_of_files_must_be_right(tmp_path, folder, files):
    archive = zipped(tmp_path / "archive", FILES)
    refused(archive, folder, f"holds 2 files of train/.*not {files}", ["train/*.jpg"], files=files)


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_archive_is_damaged(tmp_path, folder, make, share):
    archive = make(tmp_path / "archive", [("a", os.urandom(5000)), ("b", os.urandom(3000))])
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    refused(archive, folder, "archive is damaged", files=2)


def test_a_full_disk_leaves_nothing(tmp_path, folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archives, "copy", full)
    refused(zipped(tmp_path / "archive", FILES), folder, "The disk is full while")


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("train2017/1.jpg", "train2017/*.jpg", True),
        ("train2017/1.JPG", "train2017/*.jpg", False),
        ("train2017/x/1.jpg", "train2017/*.jpg", False),
        ("annotations/instances_val2017.json", "annotations/instances_*2017.json", True),
        ("annotations/captions_val2017.json", "annotations/instances_*2017.json", False),
    ],
)
def test_patterns_match_part_by_part(name, pattern, expected):
    assert fits(name, pattern) is expected
