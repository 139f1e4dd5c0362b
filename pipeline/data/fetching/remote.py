"""The real data sets as described in `workflow/data/sources.yaml`: archives, checksums and contents."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from pipeline import paths
from pipeline.config import check_keys
from pipeline.errors import InputError, nearest
from pipeline.files import read_yaml
from pipeline.machine import machine
from pipeline.options import Options
from pipeline.preset import Preset

SOURCES = Path("workflow/data/sources.yaml")
UNKNOWN = "unknown"
DIGITS = {"md5": 32, "sha256": 64, "content": 64}


class Archive(Options):
    """One file to download, and the members to unpack."""

    name: str
    urls: tuple[str, ...]
    unpack: tuple[str, ...]  # patterns of members
    most_bytes: int  # of these members in all
    bytes: int | None = None  # None where the server packs it anew, so that only `content` is known
    below: str = ""  # folder of the archive that `unpack` starts from
    content: str | None = None  # digest of the unpacked files' names and bytes
    md5: str | None = None
    sha256: str | None = None  # `unknown` where none is published: that of the first download is recorded
    files: int | None = None  # number of these members

    @property
    def checksum(self) -> tuple[str, str] | None:
        """The algorithm and required hex digest, None where none is known."""
        known = {"sha256": self.sha256, "md5": self.md5}
        return next(((name, text) for name, text in known.items() if text not in (None, UNKNOWN)), None)


class RemoteSet(Options):
    """One data set: archives to fetch into a folder, or a sentence that says how to place it by hand."""

    title: str
    folder: str
    provides: tuple[str, ...]  # below the folder
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""
    classes: int | None = None  # folders in each of `provides`
    about_bytes: int = 0  # of a set that is placed by hand
    rebuild: Literal["trainval35k", "test_dev", "people"] | None = None  # files that are made from the archives'
    link: str = ""  # folder below `folder` into which archives are unpacked, or a link to a user's that holds the same
    part: tuple[str, ...] = ()  # patterns of files that make a user's folder good enough, too

    @property
    def most_bytes(self) -> int:
        """Bytes that the unpacked set can take."""
        return self.about_bytes + sum(archive.most_bytes for archive in self.archives)

    @property
    def unpacked(self) -> Path:
        """The folder that archives are unpacked into."""
        return Path(self.folder) / self.link

    @property
    def places(self) -> list[Path]:
        """The files and folders that exist when the set is in place."""
        return [Path(self.folder) / name for name in self.provides]


def load_sources(path: Path | None = None) -> dict[str, RemoteSet]:
    """Read the data sets by name; raise InputError where the file breaks a rule."""
    path = path or paths.ROOT / SOURCES
    raw = read_yaml(path)
    check_keys(raw, dict[str, RemoteSet], str(path))
    try:
        found = msgspec.convert(raw, dict[str, RemoteSet])
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {error}; correct this value.") from error
    if "imagenet" in found:  # which may lie anywhere on this machine
        found["imagenet"] = replace(found["imagenet"], folder=machine().imagenet)
    for name, entry in found.items():
        if bool(entry.archives) == bool(entry.by_hand):
            raise InputError(f"{path}: {name} must have either archives or by_hand; write one of them.")
        for archive in entry.archives:
            check_archive(archive, f"{path}: {name}: {archive.name}")
    return found


def check_archive(archive: Archive, place: str) -> None:
    """Raise InputError where an archive's entry is not valid."""
    if archive.name != Path(archive.name).name or archive.name.startswith("."):
        raise InputError(f"{place} must be a plain file name, without folders; correct it.")
    if not archive.urls or not archive.unpack:
        raise InputError(f"{place} needs at least one address in `urls` and one pattern in `unpack`; add them.")
    if min(1 if archive.bytes is None else archive.bytes, archive.most_bytes, archive.files or 1) < 1:
        raise InputError(f"{place}: bytes, most_bytes and files count from 1; correct them.")
    if archive.bytes is None and archive.content is None:
        raise InputError(f"{place} has neither bytes nor content; add what is known of it.")
    if archive.checksum is None and archive.content is None and archive.sha256 != UNKNOWN:
        raise InputError(f"{place} has no checksum; add md5 or sha256, or `sha256: unknown` where none is published.")
    for algorithm, digits in DIGITS.items():
        text = getattr(archive, algorithm)
        if text not in (None, UNKNOWN) and not re.fullmatch(f"[0-9a-f]{{{digits}}}", text):
            raise InputError(f"{place}: {algorithm} is {text!r}, but has {digits} hexadecimal digits; correct it.")


def choose(names: list[str], preset: Preset, known: dict[str, RemoteSet]) -> list[str]:
    """Return the data sets that a user named or, where none is named, those that a preset reads."""
    for name in names:
        if name not in known:
            raise InputError(f"Unknown data set {name!r}{nearest(name, known)}; {SOURCES} holds {sorted(known)}.")
    if names:
        return list(dict.fromkeys(names))
    read = [Path(text) for text in preset_paths(preset)]
    return [
        name
        for name, entry in known.items()
        if any(
            path == place or place in path.parents or path in place.parents for path in read for place in entry.places
        )
    ]


def preset_paths(preset: Preset) -> Iterator[str]:
    """Yield every file and folder of real data that a preset names."""
    for data in (preset.data, *(preset.datasets or {}).values()):
        for source in (data.train, data.val):
            yield from (text for text in (source.images, source.annotations, source.voc) if text)
    for labelled in (preset.labelled or {}).values():
        named = [text for text in (labelled.train, labelled.val, labelled.images, labelled.split) if text]
        yield from named or [machine().imagenet]
