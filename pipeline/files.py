"""Reading and atomic writing of the small text files that stages exchange."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # the marks that Windows programs write first
PACKED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"(\xb5/\xfd": "zstd",
    b"7z\xbc\xaf": "7z",
}


class DiskFullError(InputError):
    """There is no space for a file; what was there before is untouched."""

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__(f"There is no space left to write {path}; free some and run the stage again.")


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path` and move it there when the block ends without an error.

    A reader, or a process killed half-way, sees the old file or the new one, never a part of it. Raises DiskFullError
    where disk, quota or largest file size do not suffice.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp gives 0600, which a shared cluster cannot read
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in FULL:
            raise DiskFullError(path) from error
        if error.errno in REFUSED:
            raise InputError(
                f"{path} cannot be written ({error.strerror}); make its folder writable, or clear what is in its place."
            ) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any, indent: int | None = 1) -> None:
    """Write JSON atomically; NaN and infinity are refused, a missing number is `None`."""
    write_text(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read JSON. Raises InputError with file, line and column where it is missing or malformed."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip()[:1] in ("{", "["):
            raise InputError(
                f"{path} holds another JSON value from line {error.lineno}, column {error.colno} on (JSON lines, an "
                "object a line?), but it must be one value; join them into one, or name the file that was meant."
            ) from error
        raise InputError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}; "
            "repair or re-download it."
        ) from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, nesting of thousands of levels
        raise InputError(f"{path} is no JSON that can be read: {error}; repair or re-download it.") from error


def found_json(path: str | os.PathLike) -> Any:
    """Read JSON; None where there is no file."""
    return read_json(path) if Path(path).is_file() else None


def read_yaml(path: str | os.PathLike) -> Any:
    """Read YAML with the safe loader. Raises InputError where it is missing or malformed."""
    text = read_text(path)
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}; repair it.") from error
    except (
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        RecursionError,
    ) as error:  # of dates and tags that are none
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} holds a YAML value that cannot be read ({reason}); repair it.") from error


def read_text(path: str | os.PathLike) -> str:
    """Read UTF-8 text, or UTF-16 with its mark. Raises InputError where the file is missing, a folder, or no text."""
    content = read_bytes(path)
    for magic, name in PACKED.items():
        if content.startswith(magic):
            raise InputError(f"{path} is packed ({name}); unpack it and name the file that comes out.")
    try:
        text = content.decode("utf-16" if content[:2] in UTF_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_bytes(path: str | os.PathLike) -> bytes:
    """Read a file. Raises InputError where it is missing, a folder, or cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; make it, or correct the path that names it.") from error
    except (OSError, ValueError) as error:  # a folder, no right to read it, a name too long or with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read as a file: {reason}; correct the path.") from error


def sha256(path: str | os.PathLike) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
