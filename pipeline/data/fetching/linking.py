"""A user's own folder in the place of archives: a data set that lies unpacked somewhere is linked, not copied."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.data.fetching.archives import content_digest
from pipeline.data.fetching.remote import RemoteSet
from pipeline.errors import InputError


def link_own(entry: RemoteSet, own: Path | None) -> None:
    """Make `entry.unpacked` a link to `own` where that holds the data set's files and nothing is in the place.

    A link whose folder is gone is removed. Nothing is ever written through a link.

    Raises:
        InputError: the files are not those of the data set, or the place leads to another folder already.
    """
    place = entry.unpacked
    if not entry.link:
        return
    if place.is_symlink() and not place.exists():
        place.unlink()
    whole = [pattern for archive in entry.archives for pattern in archive.unpack]
    if own is None or not any(patterns and holds(own, patterns) for patterns in (whole, entry.part)):
        return
    if place.is_symlink() and place.resolve() != own.resolve():
        raise InputError(
            f"{place} leads to {place.resolve()}, not to --local {own}; remove {entry.folder} to take the other one."
        )
    if place.exists():
        return
    for archive in entry.archives:
        if archive.content not in (None, content_digest(own, archive.unpack)):
            raise InputError(
                f"--local {own} holds other files than {entry.title} (their digest differs); restore them, or leave "
                "--local out to download them."
            )
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(own.resolve(), target_is_directory=True)


def holds(folder: Path, patterns: Iterable[str]) -> bool:
    """Whether a folder has a file for each pattern."""
    return all(next(folder.glob(pattern), None) is not None for pattern in patterns)
