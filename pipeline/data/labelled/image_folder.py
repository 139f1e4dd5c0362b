"""Labelled images in files: a folder with a sub-folder for every class, or a CSV file that splits one folder.

Every image is decoded before use; those that cannot be decoded are left out, counted and named. The result is kept
below the current folder (`paths.decoded`), by names, sizes and dates, because decoding ImageNet takes long.
"""

import csv
import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import paths
from pipeline.data.images import FORMATS, check_root, read_image
from pipeline.data.labelled.one_folder import DEVKIT, SOLUTION, classes_of, said_by
from pipeline.data.names import locate
from pipeline.data.pixels import as_rgb
from pipeline.errors import InputError, nearest
from pipeline.files import read_json, read_text, write_json

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2")
COLUMNS = ("split", "file", "class")


@dataclass(frozen=True)
class LabelledFiles:
    """Image files of one split, their class ids from 0, and the files left out."""

    root: Path
    files: tuple[str, ...]  # relative to the root
    labels: tuple[int, ...]
    classes: tuple[str, ...]  # sorted; the position is the id
    left_out: tuple[str, ...] = ()  # one sentence for each bad file

    def __len__(self) -> int:
        return len(self.files)

    def image(self, row: int) -> np.ndarray:
        """Return an image as RGB [H, W, 3] uint8."""
        from PIL import Image

        Image.init()  # does nothing the second time
        with Image.open(self.root / self.files[row], formats=[f for f in FORMATS if f in Image.OPEN]) as image:
            return np.asarray(as_rgb(image))

    @property
    def digest(self) -> str:
        """Hash of file names, sizes and labels."""
        parts = [
            f"{file} {label} {(self.root / file).stat().st_size}"
            for file, label in zip(self.files, self.labels, strict=True)
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read_folder(
    root: Path, place: str, classes: Sequence[str] | None = None, limit: int | None = None
) -> LabelledFiles:
    """Read `root/<class>/<image>`; sorted class names become ids, or `classes` gives them.

    Args:
        root: the folder of one split.
        place: names the split in messages.
        classes: the classes of the training split, which this one must not exceed.
        limit: number of images per class, first by name; None takes all.

    Raises:
        InputError: no folder, no class, an unknown class, or a class without readable images.
    """
    check_root(root)
    folders = (entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    found = sorted(name for name in folders if name != DEVKIT)
    if not found and classes is not None and (source := said_by(root)):
        return read_flat(root, source, place, classes, limit)
    if not found:
        raise InputError(
            f"{place}: {root} has no sub-folder, but each class is one; move the images into them, or put what says "
            f"the classes of ImageNet's validation images ({SOLUTION} or {DEVKIT}) beside it."
        )
    wanted = tuple(found) if classes is None else tuple(classes)
    entries, left_out = [], []
    for name in found if classes is None else wanted:
        if not (root / name).is_dir():
            raise InputError(f"{place}: {root} has no class folder {name!r}{nearest(name, found)}; add it.")
        files = sorted(p for p in (root / name).iterdir() if p.is_file() and not p.name.startswith("."))
        images = [f"{name}/{p.name}" for p in files if p.suffix.lower() in SUFFIXES]
        left_out += [f"{name}/{p.name} is no image file" for p in files if p.suffix.lower() not in SUFFIXES]
        entries += [(file, name) for file in images[:limit]]
    return readable(root, entries, wanted, left_out, place)


def read_flat(root: Path, source: Path, place: str, classes: Sequence[str], limit: int | None) -> LabelledFiles:
    """Read ImageNet's validation images from one folder, in the order of `read_folder`; other classes are left out."""
    of_class: dict[str, list[str]] = {name: [] for name in classes}
    for file, name in classes_of(source):
        locate(root, file, str(source))
        if name in of_class:
            of_class[name].append(file)
    entries = [(file, name) for name, files in of_class.items() for file in sorted(files)[:limit]]
    return readable(root, entries, tuple(classes), [], place)


def read_split(path: Path, root: Path, split: str, classes: Sequence[str] | None = None) -> LabelledFiles:
    """Read one split of a CSV file with the columns split, file (relative to `root`) and class.

    Raises:
        InputError: a missing column, an unknown class, a path that leaves the folder, or no row of this split.
    """
    check_root(root)
    reader = csv.DictReader(io.StringIO(read_text(path)))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}; its first line must be {','.join(COLUMNS)}.")
    entries = []
    for line, row in enumerate(reader, 2):
        if None in row.values() or None in row:
            raise InputError(f"{path}, line {line} has not {len(reader.fieldnames)} fields; correct it.")
        if row["split"] == split:
            locate(root, row["file"], f"{path}, line {line}")
            entries.append((row["file"], row["class"]))
    if not entries:
        raise InputError(f"{path} has no row of split {split!r}; add some.")
    wanted = tuple(sorted({name for _, name in entries})) if classes is None else tuple(classes)
    for file, name in entries:
        if name not in wanted:
            raise InputError(f"{path}: {file} has class {name!r}, which no training row has{nearest(name, wanted)}.")
    return readable(root, entries, wanted, [], f"{path}, split {split}")


def readable(
    root: Path, entries: Sequence[tuple[str, str]], classes: tuple[str, ...], left_out: list[str], place: str
) -> LabelledFiles:
    """Return the entries whose images decode to their end; raise InputError where a class has none left."""

    files = [file for file, _ in entries]
    kept = paths.decoded(dated_digest(root, files, place))
    if kept.is_file():
        problems = read_json(kept)
    else:
        problems = undecodable(root, files, place)
        write_json(kept, problems)
    good = [entry for entry in entries if entry[0] not in problems]
    left_out = [*left_out, *problems.values()]
    present = {name for _, name in good}
    for name in classes:
        if name not in present:
            because = f" ({left_out[0]})" if left_out else ""
            raise InputError(f"{place}: class {name!r} has no readable image{because}; add images or remove it.")
    ids = {name: number for number, name in enumerate(classes)}
    return LabelledFiles(
        root, tuple(file for file, _ in good), tuple(ids[name] for _, name in good), classes, tuple(left_out)
    )


def undecodable(root: Path, files: Sequence[str], place: str) -> dict[str, str]:
    """Return one sentence for every file that cannot be decoded to its end."""

    def problem(file: str) -> str | None:
        try:
            read_image(str(root / file), file, place)
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:
        found = dict(zip(files, pool.map(problem, files), strict=True))
    return {file: sentence for file, sentence in found.items() if sentence is not None}


def dated_digest(root: Path, files: Sequence[str], place: str) -> str:
    """Hash the names, sizes and dates of files; one that does not exist counts as empty."""
    parts = [str(root.resolve()), place]
    for file in files:
        path = root / file
        stat = path.stat() if os.path.isfile(path) else None  # False, too, for a name that is too long
        parts.append(f"{file} {stat.st_size} {stat.st_mtime_ns}" if stat else f"{file} missing")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
