"""YOLO's text files: `data.yaml` with its parts, a folder of labels, or lists of pictures.

A line is a class, counted from 0, and a box's centre and size as shares of the picture, or the corners of a polygon.
A picture without a label file, or with an empty one, has no object.
"""

import math
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.data.exclusions import shown
from pipeline.data.names import tidy
from pipeline.errors import InputError
from pipeline.files import read_text, read_yaml
from pipeline.markdown import plural
from pipeline.own.pictures import as_named, common_folder, files, form, pictures
from pipeline.own.records import Records

BOXES = "normalised_cxcywh"
NAMES = ("classes.txt", "obj.names", "_darknet.labels")  # files of a name a line
PARTS = {"train": ("train",), "val": ("val", "valid", "validation", "test")}
ALL_BARE = "YOLO's rule puts labels/a.txt where images/a.jpg is, or a.txt beside a.jpg"


def settings(place: Path) -> Path | None:
    """Return the `data.yaml` of a folder, under whatever name it has one; None without."""
    found = sorted([*place.glob("*.yaml"), *place.glob("*.yml")], key=lambda path: (path.stem != "data", path.name))
    for path in found:
        with suppress(InputError):  # other programs' files lie there, too
            content = read_yaml(path)
            if isinstance(content, dict) and "names" in content:
                return path
    return None


def read(place: Path, images: Path | None) -> dict[str, Records]:
    """Return the parts that a `data.yaml` names, or the pictures of a list or a folder of labels as `train`.

    Raises:
        InputError: names, pictures or labels are missing, or a line breaks YOLO's form.
    """
    if place.is_dir() and (found := settings(place)):
        place = found
    if place.suffix.lower() in (".yaml", ".yml"):
        return of_settings(place, images)
    if place.is_file():
        found = listed(place, images or place.parent)
        return {"train": labelled(found, {path: label_of(path) for path in found}, names_near(place.parent), place)}
    if images is None:
        raise InputError(f"{place} holds labels; name the folder of their pictures as IMAGES.")
    return {"train": of_labels(place, images)}


def of_settings(place: Path, images: Path | None) -> dict[str, Records]:
    """Return training and, where named and other than it, validation pictures of a `data.yaml`."""
    content = read_yaml(place)
    if not isinstance(content, dict):
        raise InputError(f"{place} must hold the keys `train`, `val` and `names`, as YOLO's data.yaml does.")
    names = class_names(content.get("names"), place)
    if "kpt_shape" in content:
        raise InputError(f"{place} has kpt_shape: its labels are of poses, of which no boxes are read; export boxes.")
    roots = [place.parent, *([images] if images else [])]
    if isinstance(content.get("path"), str):
        roots = [place.parent / content["path"], *roots]
    paths: dict[str, list[Path]] = {}
    for part, keys in PARTS.items():
        key = next((key for key in keys if content.get(key)), None)
        if key:
            values = content[key] if isinstance(content[key], list) else [content[key]]
            paths[part] = sorted({path for value in values for path in named(value, key, roots, place)})
    if "train" not in paths:
        raise InputError(f"{place} names no `train` pictures; add the key, a folder or a list of them.")
    alike = paths.get("val") == paths["train"]
    if alike:
        del paths["val"]
    labels = {path: label_of(path) for these in paths.values() for path in these}
    known = set(labels.values())
    found = {
        part: labelled(these, {path: labels[path] for path in these}, names, place, known)
        for part, these in paths.items()
    }
    if alike:
        found["train"].remarks.append(f"{place} names the same pictures to train and to validate on; they are split.")
    return found


def named(value: Any, key: str, roots: list[Path], place: Path) -> list[Path]:
    """Return the pictures of a folder or list that `data.yaml` names, from whichever folder it is there.

    Exports often write `../train/images` for what lies beside the file.
    """
    if not isinstance(value, str):
        raise InputError(f"{place} has {key}: {shown(value)}, but it must be a folder or a list of pictures.")
    ways = dict.fromkeys([value, value.removeprefix("../"), value.removeprefix("../../")])
    for path in (root / way for way in ways for root in roots):
        if path.is_file():
            return listed(path, path.parent)
        if path.is_dir():
            return some(pictures(path), path)
    raise InputError(f"{place} has {key}: {value}, but {roots[0] / value} is not there; correct the path.")


def listed(place: Path, root: Path) -> list[Path]:
    """Return the pictures of a text file with a path a line, from the file's own folder, `root`, or absolute."""
    found = []
    for line in dict.fromkeys(line.strip() for line in read_text(place).splitlines() if line.strip()):
        forms = (folder / name for name in (line, line.replace("\\", "/")) for folder in (place.parent, root))
        path = next((path for path in forms if os.path.isfile(path)), None)  # which takes names of any length
        if path is None:
            raise InputError(f"{place} names the picture {shown(line)}, which is not there; correct the line.")
        found.append(path)
    return some(found, place)


def some(found: list[Path], place: Path) -> list[Path]:
    if not found:
        raise InputError(f"{place} holds no picture, so there is nothing to train on; correct the path or fill it.")
    return found


def of_labels(labels: Path, images: Path) -> Records:
    """Return the pictures of a folder with the labels of another: same names below both, or same names at all."""
    found = some(pictures(images), images)
    texts = [path for path in files(labels, [".txt"]) if path.name not in NAMES]
    inside = {name_below(path, labels): path for path in texts}
    names = {path: name_below(path, images) for path in found}
    if not inside.keys() & names.values():  # other folders than the pictures': names alone, where each is the only one
        inside, names = by_stem(texts), {path: stem for stem, path in by_stem(found).items()}
    beside = {path: inside.get(names.get(path, ""), labels / f"{name_below(path, images)}.txt") for path in found}
    return labelled(found, beside, names_near(labels), labels)


def name_below(path: Path, folder: Path) -> str:
    """Return a file's name below a folder in one Unicode form, without suffix."""
    return form(path.relative_to(folder).with_suffix("").as_posix())


def by_stem(found: list[Path]) -> dict[str, Path]:
    """Return files by their names without suffix, those of which no other is called so."""
    names = {path: form(path.stem) for path in found}
    counts = Counter(names.values())
    return {name: path for path, name in names.items() if counts[name] == 1}


def label_of(picture: Path) -> Path:
    """Return where YOLO's rule has a picture's labels: for its last folder `images`, `labels`; else beside it."""
    parts, beside = list(picture.parent.parts), picture.with_suffix(".txt")
    for place in reversed(range(len(parts))):
        if parts[place] == "images":
            path = as_named(Path(*parts[:place], "labels", *parts[place + 1 :], f"{picture.stem}.txt"))
            return path if path.is_file() or not as_named(beside).is_file() else as_named(beside)
    return as_named(beside)


def labelled(
    found: list[Path], labels: dict[Path, Path], names: list[str], place: Path, known: set[Path] | None = None
) -> Records:
    """Return pictures with the objects of their label files; `known` are those of pictures of all parts.

    Raises:
        InputError: no picture has a label file, or a line breaks YOLO's form.
    """
    records, repeated = Records(common_folder(found), names), 0
    there = {path: label for path, label in labels.items() if label.is_file()}
    known = known or set(labels.values())
    if not there:
        raise InputError(f"{place}: none of {plural(len(found), 'picture')} has a label file; {ALL_BARE}.")
    for path in found:
        lines = [line.split() for line in read_text(there[path]).splitlines()] if path in there else []
        once = {tuple(line): f"{there[path]} line {number}" for number, line in enumerate(lines, start=1) if line}
        repeated += sum(map(bool, lines)) - len(once)
        records.add(path, [one_object(words, names, where) for words, where in once.items()])
    bare = len(found) - len(there)
    if bare:
        much = "warning: " if bare > len(found) / 10 else ""
        first = next(path for path in found if path not in there)
        records.remarks.append(
            f"{much}{plural(bare, 'picture')} of {len(found)} without a label file, such as {first.name}: "
            "taken as pictures without objects."
        )
    if repeated:
        records.remarks.append(f"{plural(repeated, 'line')} that repeat another of the same file left out.")
    folders = {label.parent for label in there.values()}
    orphans = sorted({path for folder in folders for path in folder.glob("*.txt") if path.name not in NAMES} - known)
    if orphans:
        records.remarks.append(f"{plural(len(orphans), 'label file')} of no picture here, such as {orphans[0].name}.")
    return records


def one_object(words: Iterable[str], names: list[str], where: str) -> dict[str, Any]:
    """Return the object of a line's words. Raises InputError where they break YOLO's form."""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise InputError(
            f"{where} reads {shown(' '.join(words))}, but a line is numbers between blanks; correct it."
        ) from None
    number, shape = numbers[0], numbers[1:]
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{where} holds a number that is not finite; correct it.")
    if number != int(number) or not 0 <= number < len(names):
        raise InputError(
            f"{where} has class {number:g}, but the names are of the classes 0 to {len(names) - 1}; add the name, or "
            "correct the line."
        )
    name = names[int(number)]
    if len(shape) == 4:
        return {"name": name, "bbox": shape, "iscrowd": 0}
    if len(shape) < 6 or len(shape) % 2:
        raise InputError(
            f"{where} has {len(shape)} numbers behind the class, but a box has 4 (centre and size) and a polygon an "
            "even count from 6 on; correct it (a score does not belong into labels)."
        )
    xs, ys = shape[::2], shape[1::2]
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    box = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    return {"name": name, "bbox": box, "iscrowd": 0, "segmentation": [shape]}


def names_near(place: Path) -> list[str]:
    """Return the class names of a folder or of the two above it: `data.yaml`'s, or a file of a name a line."""
    for folder in (place, *list(place.parents)[:2]):
        found, plain = settings(folder), next((path for name in NAMES if (path := folder / name).is_file()), None)
        if found and plain and found.stem != "data":
            raise InputError(f"{found} and {plain} both name classes; leave the one that these labels follow.")
        if found:
            return class_names(read_yaml(found)["names"], found)
        if plain:
            return class_names([line.strip() for line in read_text(plain).rstrip().splitlines()], plain)
    raise InputError(
        f"{place} has labels, but neither a data.yaml with `names` nor a classes.txt is in it or above it; write the "
        "names of the classes there, one a line, as classes.txt."
    )


def class_names(value: Any, place: Path) -> list[str]:
    """Return names in the order of their numbers: of a list, or of a mapping from 0 on."""
    if isinstance(value, dict):
        numbered = {str(number): name for number, name in value.items()}  # quoted ones are meant so, too
        if numbered.keys() != {str(number) for number in range(len(value))}:
            raise InputError(f"{place} has names for {shown(list(value))}, but classes count 0, 1, 2, ...")
        value = [numbered[str(number)] for number in range(len(value))]
    if not isinstance(value, list) or not value or not all(isinstance(one, str | int | float) for one in value):
        raise InputError(f"{place} must have `names`, a list of the classes' names; add it.")
    if any(isinstance(one, bool) for one in value):
        raise InputError(f"{place} has names that YAML reads as true or false (yes, no, on, off); put them in quotes.")
    names = [tidy(str(one)) for one in value]
    twice = [name for name in names if names.count(name) > 1 or not name]
    if twice:
        raise InputError(f"{place} names class {shown(twice[0])} twice, or not at all; every class needs its own name.")
    return names
