"""The pictures of a folder, and what lies beside them under the same name."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.data.voc import SUFFIXES


def files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files of a folder and of those below it that end so, sorted; no hidden ones, no Mac's companions."""
    found, seen, wanted = [], set(), tuple(suffix.lower() for suffix in suffixes)
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real in seen:  # a link to a folder above, or to another one below
            continue
        seen.add(real)
        kept = (name for name in names if name.lower().endswith(wanted) and not name.startswith("."))
        found += [Path(place, name) for name in kept]
    return sorted(found)


def pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder and of those below it, sorted."""
    return files(folder, SUFFIXES)


def form(name: str) -> str:
    """Return a name in one Unicode form."""
    return unicodedata.normalize("NFC", name)


def as_named(path: Path) -> Path:
    """Return the file that a path means: itself, or the one whose name differs in its Unicode form only (a Mac's)."""
    if path.is_file() or not path.parent.is_dir():
        return path
    return next((one for one in path.parent.iterdir() if form(one.name) == form(path.name)), path)


def common_folder(paths: Iterable[Path]) -> Path:
    """Return the deepest folder that holds all files."""
    return Path(os.path.commonpath([path.parent for path in paths]))


class ByName:
    """Pictures by their names without suffix: below their folder first, alone where only one is called so."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.found = folder, pictures(folder)
        self.inside = {form(path.relative_to(folder).with_suffix("").as_posix()): path for path in self.found}
        self.alone: dict[str, Path | None] = {}
        for path in self.found:
            self.alone[form(path.stem)] = None if form(path.stem) in self.alone else path

    def of(self, *names: str) -> Path | None:
        """Return the picture of the first of some names that one has; None where none has."""
        for name in map(form, filter(None, names)):
            found = self.inside.get(name) or self.alone.get(name.rpartition("/")[2])
            if found is not None:
                return found
        return None
