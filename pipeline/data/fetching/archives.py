"""Unpack untrusted tar and zip archives: plain files only, inside one folder, within limits."""

import errno
import fnmatch
import gzip
import hashlib
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from pipeline.data.fetching.download import FREE_SPACE
from pipeline.errors import InputError
from pipeline.files import sha256

CHUNK = 2**20  # bytes
MOST_MEMBERS = 3_000_000
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
BROKEN += (IndexError, lzma.LZMAError, gzip.BadGzipFile)  # the first is zipfile's, of a member without a name


class Member(NamedTuple):
    """One file of an archive: its checked name, declared size in bytes, and how to read it."""

    name: str
    size: int
    stream: BinaryIO


def unpack(
    archive: Path,
    folder: Path,
    patterns: Sequence[str],
    most_bytes: int,
    files: int | None = None,
    below: str = "",
    content: str | None = None,
) -> int:
    """Unpack the members that fit a pattern into `folder` and return their number.

    Everything is first written beside the folder's content and moved into place when it is complete: existing files are
    replaced one by one, and new folders appear as a whole.

    Args:
        patterns: of names with slashes; `*` stands for any letters but a slash.
        most_bytes: of the members in all; a declared or a real size above it is an error.
        files: how many there must be, None where that is not known.
        below: folder of the archive that names and patterns start from; nothing outside it is wanted.
        content: what `content_digest` of them must be, None where that is not known.

    Raises:
        InputError: a damaged archive; a member that is a link or a device, leaves the folder, or occurs twice; sizes
            above the limit; too few or too many members, or others. Nothing is left of it in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f".unpacking-{archive.name}"
    shutil.rmtree(staging, ignore_errors=True)  # left by a process that was killed
    try:
        count = write_members(archive, staging, patterns, most_bytes, f"{below}/" if below else "")
        if files is not None and count != files:
            raise InputError(f"{archive} holds {count} files of {', '.join(patterns)}, not {files}; download it again.")
        if content is not None and content_digest(staging, patterns) != content:
            raise InputError(f"{archive} holds other files than those meant (their digest differs); download it again.")
        merge(staging, folder)
        return count
    except InputError:  # a ValueError too
        raise
    except BROKEN as error:
        reason = str(error).splitlines()[0].rstrip(":") if str(error) else type(error).__name__
        raise InputError(f"{archive} is damaged ({reason}); delete it and download it again.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"The disk is full while {archive} is unpacked; {FREE_SPACE}.") from error
        if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTEMPTY):
            raise InputError(
                f"{archive} has a member that cannot be written ({error.strerror}: {error.filename}); delete what is "
                "in its place, or download the archive again."
            ) from error
        if error.errno == errno.EINVAL:  # zipfile seeks before the start of a damaged archive
            raise InputError(f"{archive} is damaged ({error.strerror}); delete it and download it again.") from error
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_members(archive: Path, staging: Path, patterns: Sequence[str], most_bytes: int, below: str) -> int:
    """Write the wanted members, without `below` before their names, into `staging` and return their number."""
    staging.mkdir(parents=True)
    total, seen = 0, set()
    for number, member in enumerate(members(archive), start=1):
        if number > MOST_MEMBERS:
            raise InputError(f"{archive} holds more than {MOST_MEMBERS} members; it is not what was asked for.")
        name = member.name.removeprefix(below)
        if not member.name.startswith(below) or not any(fits(name, pattern) for pattern in patterns):
            continue
        if member.name in seen:
            raise InputError(f"{archive} holds {member.name} twice; download it again from another address.")
        seen.add(member.name)
        total += member.size
        if total > most_bytes:
            raise InputError(
                f"{archive} unpacks to more than the {most_bytes} bytes that sources.yaml allows; it is not what was "
                "asked for, delete it."
            )
        path = staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as stream:
            copy(member, stream, archive)
    return len(seen)


def copy(member: Member, stream: BinaryIO, archive: Path) -> None:
    """Write one member; raise InputError where its content is longer or shorter than its entry says."""
    left = member.size
    while chunk := member.stream.read(CHUNK):
        left -= len(chunk)
        if left < 0:
            break
        stream.write(chunk)
    if left:
        raise InputError(f"{archive}: {member.name} is not as long as its entry says; download the archive again.")


def members(archive: Path) -> Iterator[Member]:
    """Yield the files of an archive in its order; raise InputError at the first member that is not safe."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                safe(info.filename, archive)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    refuse(info.filename, "a link or a device", archive)
                if info.flag_bits & 1:
                    refuse(info.filename, "encrypted", archive)
                if not info.is_dir():
                    with opened.open(info) as stream:
                        yield Member(info.filename, info.file_size, stream)
        return
    with tarfile.open(archive, "r:*") as opened:
        for info in opened:
            name = info.name.removeprefix("./") or "."
            safe(name, archive)
            if info.isreg():
                yield Member(name, info.size, opened.extractfile(info))
            elif not info.isdir():
                refuse(name, "a link or a device", archive)


def safe(name: str, archive: Path) -> None:
    """Raise InputError where a member's name could lead out of the folder or has another meaning on other systems."""
    parts = name.rstrip("/").split("/")
    if name == "." or not name:
        return
    if name.startswith("/") or ".." in parts or "" in parts:
        refuse(name, "a path that leads elsewhere", archive)
    if "\\" in name or "\0" in name or ":" in parts[0]:
        refuse(name, "a name that other systems read as a path elsewhere", archive)


def refuse(name: str, what: str, archive: Path) -> None:
    raise InputError(
        f"{archive} holds {name[:200]!r}, {what}, which no data set needs; delete it and take it from the publisher."
    )


def fits(name: str, pattern: str) -> bool:
    """Whether a name matches a pattern, part by part."""
    parts, wanted = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def content_digest(folder: Path, patterns: Sequence[str]) -> str:
    """Return a digest of the names and bytes of the files that fit a pattern, however they were packed.

    `cd FOLDER && sha256sum FILES | LC_ALL=C sort -k 2 | sha256sum` gives the same.
    """
    names = {path.relative_to(folder).as_posix() for pattern in patterns for path in folder.glob(pattern)}
    lines = (f"{sha256(folder / name)}  {name}\n" for name in sorted(names))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def merge(source: Path, target: Path) -> None:
    """Move the content of a folder into another: new folders as a whole, single files over existing ones."""
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if place.is_dir() and entry.is_dir():
            merge(entry, place)
        else:
            os.replace(entry, place)
