"""Put data sets in place: check the disk, then download, check, unpack and count, one archive at a time.

Finished archives are remembered beside them, so that the same command continues after any interruption.
"""

import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.data.coco_splits import rebuild_test_dev, rebuild_trainval35k
from pipeline.data.fetching.archives import unpack
from pipeline.data.fetching.download import Patience, check, digest_of, download
from pipeline.data.fetching.linking import link_own
from pipeline.data.fetching.remote import UNKNOWN, Archive, RemoteSet
from pipeline.data.labelled.one_folder import said_by
from pipeline.data.people import rebuild_people
from pipeline.errors import InputError
from pipeline.files import found_json, write_json

REBUILD = {"trainval35k": rebuild_trainval35k, "test_dev": rebuild_test_dev, "people": rebuild_people}
BY_HAND = {"source": "placed by hand"}
LOCAL = "a local copy"
LINKED = {"source": "a linked folder"}
SPARE = 2**30  # bytes that stay free
GB = 1e9


@dataclass(frozen=True)
class Ways:
    """How data arrive, which belongs to the machine: an address before the official ones, a folder that has them."""

    mirror: str | None = None
    local: Path | None = None
    keep: bool = False  # whether to keep archives after they are unpacked
    patience: Patience = field(default_factory=Patience)


def fetch(chosen: Mapping[str, RemoteSet], ways: Ways = Ways()) -> dict[str, Any]:
    """Put every data set with archives in place, and return what was unpacked from each archive.

    Raises:
        InputError: too little space (before anything is downloaded), or an archive that is not available or not the
            right one.
    """
    chosen = {name: entry for name, entry in chosen.items() if entry.archives}
    if ways.local is not None and not ways.local.is_dir():
        raise InputError(
            f"--local {ways.local} is no folder; name the folder that holds the archives, or what is in them."
        )
    for entry in chosen.values():
        link_own(entry, ways.local)
    state = State(paths.archives() / "unpacked.json")
    waiting = [(name, archive) for name, entry in chosen.items() for archive in missing(entry, state)]
    waiting = list({(chosen[name].unpacked, archive.name): (name, archive) for name, archive in waiting}.values())
    check_space([archive for _, archive in waiting], ways, [chosen[name].unpacked for name, _ in waiting])
    for name, archive in waiting:
        state.add(archive, bring(archive, chosen[name].unpacked, ways, state))
    result = {}
    for name, entry in chosen.items():
        linked = entry.link and entry.unpacked.is_symlink()
        archives = {a.name: LINKED if linked else state.known.get(a.name, BY_HAND) for a in entry.archives}
        result[name] = {"title": entry.title, "archives": archives, "images": rebuilt(entry)}
        absent = [place for place in entry.places if not place.exists()]
        if absent:
            raise InputError(
                f"{absent[0]} is not there although {name} is unpacked; remove {state.path}, run it again."
            )
    return result


class State:
    """The archives that are unpacked, written to disk after each."""

    def __init__(self, path: Path):
        self.path = path
        self.known: dict[str, Any] = found_json(path) or {}

    def add(self, archive: Archive, entry: dict[str, Any]) -> None:
        """Note that an archive is in place."""
        self.known[archive.name] = entry
        write_json(self.path, self.known)

    def is_done(self, archive: Archive) -> bool:
        """Whether an archive of this checksum is unpacked."""
        entry = self.known.get(archive.name)
        if entry is None:
            return False
        wanted = archive.checksum or (archive.content and ("content", archive.content))
        return not wanted or entry.get(wanted[0]) == wanted[1]


def missing(entry: RemoteSet, state: State) -> list[Archive]:
    """Return the archives of a data set that are not in place; none where a user has put all of it there."""
    folder = entry.unpacked
    if entry.link and folder.is_symlink():
        return []
    if all(place.exists() for place in entry.places) and not any(a.name in state.known for a in entry.archives):
        return []
    gone = [a for a in entry.archives if any(next(folder.glob(pattern), None) is None for pattern in a.unpack)]
    return [archive for archive in entry.archives if archive in gone or not state.is_done(archive)]


def bring(archive: Archive, folder: Path, ways: Ways, state: State) -> dict[str, Any]:
    """Get, check and unpack one archive; return the entry to remember."""
    path = local_copy(archive, ways)
    source = LOCAL
    if path is None:
        path = paths.archives() / archive.name
        urls = ([f"{ways.mirror.rstrip('/')}/{archive.name}"] if ways.mirror else []) + list(archive.urls)
        if not path.is_file() or check(path, archive.bytes, archive.checksum):
            path.unlink(missing_ok=True)
            source = download(urls, path, archive.bytes, archive.checksum, ways.patience)
        else:
            source = "an earlier download"
    sha256 = digest_of(path, "sha256")
    recorded = state.known.get(archive.name, {}).get("sha256")
    if archive.sha256 == UNKNOWN and recorded not in (None, sha256):
        raise InputError(
            f"{archive.name} has SHA-256 {sha256}, at the first download it had {recorded}; ask the publisher which is "
            f"right, and remove the entry from {state.path} to take the new one."
        )
    digests = {"sha256": sha256, "md5": archive.md5, "content": archive.content}
    say(f"Unpacking {archive.name} into {folder}")
    size = path.stat().st_size
    try:
        count = unpack(path, folder, archive.unpack, archive.most_bytes, archive.files, archive.below, archive.content)
    except InputError:
        if archive.checksum is None and source != LOCAL:
            path.unlink()  # nothing but its content tells that it is wrong: the next run downloads it again
        raise
    if ways.local is None and not ways.keep:
        path.unlink()
    entry = {"bytes": size, **digests, "files": count, "source": source}
    return {key: value for key, value in entry.items() if value is not None}


def local_copy(archive: Archive, ways: Ways) -> Path | None:
    """Return the user's own copy of an archive after checking it; None where there is none."""
    if ways.local is None or not (ways.local / archive.name).is_file():
        return None
    path = ways.local / archive.name
    wrong = check(path, archive.bytes, archive.checksum)
    if wrong:
        raise InputError(f"{path} is not the archive that is meant ({wrong}); replace it, or remove it to download.")
    return path


def check_space(archives: Iterable[Archive], ways: Ways, folders: Iterable[Path]) -> None:
    """Raise InputError where the disk has too little space."""
    needed: dict[int, int] = {}
    free: dict[int, tuple[int, Path]] = {}
    largest: dict[int, int] = {}

    def count(place: Path, size: int) -> int:
        existing = next(path for path in (place, *place.absolute().parents) if path.exists())
        disk = existing.stat().st_dev
        free[disk] = (shutil.disk_usage(existing).free, existing)
        needed[disk] = needed.get(disk, 0) + size
        return disk

    for archive, folder in zip(archives, folders, strict=True):
        count(folder, archive.most_bytes)
        if ways.local is not None and (ways.local / archive.name).is_file():
            continue
        here = sum(
            path.stat().st_size
            for path in (paths.archives() / archive.name, paths.archives() / f"{archive.name}.part")
            if path.is_file()
        )
        left = max(0, (archive.bytes or archive.most_bytes) - here)
        disk = count(paths.archives(), left if ways.keep else 0)
        largest[disk] = max(largest.get(disk, 0), left)
    for disk, size in needed.items():
        size += SPARE + (0 if ways.keep else largest.get(disk, 0))
        found, place = free[disk]
        if found < size:
            raise InputError(
                f"The data need up to {size / GB:.1f} GB on the disk of {place.absolute()}, which has "
                f"{found / GB:.1f} GB free; free {(size - found) / GB:.1f} GB, or make the data folder a link to a "
                "larger disk."
            )


def left_by_hand(chosen: Mapping[str, RemoteSet]) -> list[str]:
    """Return a sentence for each data set that must be placed by hand and is not there."""
    places = [(entry, place) for entry in chosen.values() if entry.by_hand for place in entry.places]
    return [f"{place} is missing ({entry.title}): {entry.by_hand}." for entry, place in places if not place.is_dir()]


def check_by_hand(chosen: Mapping[str, RemoteSet]) -> None:
    """Raise InputError where a data set that must be placed by hand is incomplete."""
    for entry in chosen.values():
        for place in entry.places if entry.by_hand else ():
            if not place.is_dir():
                continue
            found = sum(path.is_dir() for path in place.iterdir())
            if entry.classes and found != entry.classes and not (found <= 1 and said_by(place)):
                raise InputError(f"{place} has {found} class folders, {entry.title} has {entry.classes}; complete it.")


def rebuilt(entry: RemoteSet) -> dict[str, int]:
    """Make the files derived from a data set's archives where one is missing; return image counts by file."""
    made = [place for place in entry.places if place.suffix == ".json"]
    if entry.rebuild is None or all(place.is_file() for place in made):
        return {}
    say(f"Rebuilding {entry.rebuild}")
    return REBUILD[entry.rebuild](Path(entry.folder) / "annotations")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
