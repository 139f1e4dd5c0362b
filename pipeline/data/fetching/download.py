"""Download one large file over HTTP: resumed after a break, checked, and moved into place only when complete."""

import errno
import fcntl
import hashlib
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import requests
import urllib3
from tqdm import tqdm

from pipeline.errors import InputError
from pipeline.files import found_json, write_json

CHUNK = 2**20  # bytes
TIMEOUT = (30, 60)  # seconds to connect, and between two packets
LONGEST_WAIT = 60.0  # seconds between two attempts
AGAIN = (408, 425, 429, 500, 502, 503, 504)  # HTTP codes after which a later attempt may succeed
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError)
HOPELESS = (requests.exceptions.SSLError, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)
HOPELESS += (requests.exceptions.MissingSchema, requests.exceptions.TooManyRedirects)
WEB_PAGE = re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)
FREE_SPACE = "free space on this disk, or move the folder and leave a link; the same command goes on from there"


@dataclass(frozen=True)
class Patience:
    """The number of attempts without a new byte, and the first wait in seconds, which doubles each time."""

    attempts: int = 6
    wait: float = 2.0


class RefusedError(Exception):
    """An address cannot give the file, but the next one may."""


def download(
    urls: Sequence[str],
    target: Path,
    size: int | None = None,
    checksum: tuple[str, str] | None = None,
    patience: Patience = Patience(),
) -> str:
    """Download a file to `target`, through `<target>.part`; return the address that gave it.

    Args:
        urls: addresses of the same file, tried in order.
        target: its path; an existing part of it is continued where the server allows it.
        size: required bytes; None where they are not known.
        checksum: hashlib algorithm and required hex digest; None where none is known.

    Raises:
        InputError: no address gave the file. A part that can be continued is kept, a wrong file is not.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    said = []
    with only_one(part):
        for url in urls:
            try:
                resumed = receive(url, part, size, patience, anywhere=checksum is not None)
                wrong = check(part, size, checksum)
                if wrong and resumed:  # the pieces may be from two versions
                    discard(part)
                    receive(url, part, size, patience, anywhere=False)
                    wrong = check(part, size, checksum)
                if wrong:
                    discard(part)
                    raise RefusedError(f"gave a wrong file ({wrong})")
            except RefusedError as error:
                said.append(f"{url} {error}")
                continue
            os.replace(part, target)
            discard(part)
            return url
    raise InputError(
        f"{target.name} could not be downloaded: {'; '.join(said)}; run the command again later, name another address "
        "(--mirror), or a folder that holds the file (--local)."
    )


def receive(url: str, part: Path, size: int | None, patience: Patience, anywhere: bool) -> bool:
    """Fill the part file until the server has sent everything; return whether it was joined from several pieces.

    With `anywhere`, a part from another address is continued, too: a checksum will tell whether the pieces fit.

    Raises:
        RefusedError: the server has no such file, or sent no new byte in all attempts.
    """
    failures, pieces, furthest, reason = 0, 0, 0, ""
    if part.is_file() and part.stat().st_size > (size if size is not None else sys.maxsize):
        discard(part)
    while failures < patience.attempts:
        before = part.stat().st_size if part.is_file() else 0
        furthest = max(furthest, before)
        wait = min(LONGEST_WAIT, patience.wait * 2**failures)
        if size is not None and before == size:
            return pieces > 0 or before > 0
        try:
            pieces += before > 0
            if one_response(url, part, before, size, anywhere):
                return pieces > 0
            reason = "ended the connection early"
        except LaterError as error:
            reason, wait = str(error), max(wait, min(LONGEST_WAIT, error.wait))
        except HOPELESS as error:
            raise RefusedError(f"cannot be asked ({type(error).__name__})") from error
        except BROKEN as error:
            reason = f"broke the connection ({type(error).__name__})"
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise InputError(f"The disk is full while {part} is written; {FREE_SPACE}.") from error
        after = part.stat().st_size if part.is_file() else 0
        failures = 0 if after > furthest else failures + 1
        if failures < patience.attempts:
            time.sleep(wait)
    kept = f", {part.stat().st_size} bytes are kept" if part.is_file() and part.stat().st_size else ""
    raise RefusedError(f"{reason}, {patience.attempts} times in a row{kept}")


class LaterError(Exception):
    """The server asks to try again later."""

    def __init__(self, reason: str, wait: float):
        super().__init__(reason)
        self.wait = wait


def one_response(url: str, part: Path, have: int, size: int | None, anywhere: bool) -> bool:
    """Request the missing bytes and append them; return whether the file is complete according to the server."""
    note = part.with_name(f"{part.name}.json")
    headers = {"Accept-Encoding": "identity", "User-Agent": "scalewise"}
    known = found_json(note) or {}
    validator = known.get("validator") if known.get("url") == url else None
    if have and (validator or anywhere):
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator  # if the file has changed since, the server sends all of it
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:
            discard(part)
            raise LaterError("has no byte after those that are here", 0.0)
        check_status(response)
        start, total = extent(response, have)
        if size is not None and total is not None and total != size:
            raise RefusedError(f"offers {total} bytes where {size} are expected")
        write_json(note, {"url": url, "validator": validator_of(response)})
        with open(part, "r+b" if start else "wb") as stream:
            stream.seek(start)
            stream.truncate()
            copy(response, stream, start, size or total)
        return part.stat().st_size >= (total or size or 0)


def check_status(response: requests.Response) -> None:
    """Raise LaterError or RefusedError where a response has no file."""
    code = response.status_code
    if code in AGAIN:
        text = response.headers.get("Retry-After", "")
        raise LaterError(f"answered {code} {response.reason}", float(text) if text.isdigit() else 0.0)
    if code not in (200, 206):
        raise RefusedError(f"answered {code} {response.reason}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise RefusedError("sent a web page (of a login, most often) in the place of the file")


def extent(response: requests.Response, have: int) -> tuple[int, int | None]:
    """Return the first byte of a response, and the size of the whole file (None where the server does not say)."""
    if response.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            raise RefusedError(f"answered a range with {response.headers.get('Content-Range')!r}")
        return have, None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def validator_of(response: requests.Response) -> str | None:
    """Return what identifies this version of the file: a strong ETag, or else its date."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def copy(response: requests.Response, stream: BinaryIO, start: int, total: int | None) -> None:
    """Write the body of a response after byte `start`, with a progress bar.

    Raises:
        RefusedError: a web page instead of the file, or more bytes than `total`.
    """
    name = Path(stream.name).name.removesuffix(".part")
    options: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "mininterval": 2.0}
    with tqdm(desc=name, initial=start, total=total, file=sys.stderr, **options) as bar:
        position = start
        while chunk := response.raw.read1(CHUNK, decode_content=False):  # write what arrived before a break
            if position == 0 and WEB_PAGE.match(chunk):
                stream.truncate(0)
                raise RefusedError("sent a web page (of a login, most often) in the place of the file")
            stream.write(chunk)
            position += len(chunk)
            if total is not None and position > total:
                stream.truncate(0)
                raise RefusedError(f"sends more than the {total} bytes that are expected")
            bar.update(len(chunk))


def check(path: Path, size: int | None, checksum: tuple[str, str] | None) -> str:
    """Return what is wrong with a file, or an empty text."""
    found = path.stat().st_size
    if size is not None and found != size:
        return f"{found} bytes where {size} are expected"
    if checksum is not None:
        algorithm, wanted = checksum
        digest = digest_of(path, algorithm)
        if digest != wanted:
            return f"{algorithm.upper()} {digest} where {wanted} is expected"
    return ""


def digest_of(path: Path, algorithm: str) -> str:
    """Return the hex digest of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def discard(part: Path) -> None:
    """Remove a part file and the note beside it."""
    for path in (part, part.with_name(f"{part.name}.json")):
        path.unlink(missing_ok=True)


@contextmanager
def only_one(part: Path) -> Iterator[None]:
    """Hold the lock of a part file; raise InputError where another process holds it."""
    lock = part.with_name(f"{part.name}.lock")
    with open(lock, "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"Another process is downloading {part.name}; wait for it or end it.") from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
