"""PASCAL VOC as people have it: a VOC folder with or without lists, its lists, or .xml files beside their pictures."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.data.exclusions import shown
from pipeline.data.voc import PARTS, SUFFIXES, find_folders, read_annotation, read_split
from pipeline.errors import InputError
from pipeline.markdown import plural
from pipeline.own.pictures import ByName, as_named, files
from pipeline.own.records import Records

BOXES = "xyxy"
PARTED = ("train", "val")
# Lists that are taken as the two parts; without a pair, one that is taken alone.
LISTED = (("train", "val"), ("trainval", "test"), ("train", "test"), ("train", "valid"), ("train", "validation"))
ALONE = ("trainval", "train")


def years(place: Path) -> list[Path]:
    """Return the folders VOC<year> in a folder, or in its VOCdevkit."""
    base = place / "VOCdevkit" if (place / "VOCdevkit").is_dir() else place
    return sorted(path for path in base.glob("VOC*") if (path / PARTS[1]).is_dir())


def is_list(place: Path) -> bool:
    """Whether a text file lies where VOC keeps its lists."""
    return (list_root(place) / PARTS[1]).is_dir()


def list_root(place: Path) -> Path:
    """Return the VOC folder that a list (ImageSets/Main/train.txt, or ImageSets/train.txt) belongs to."""
    return place.parent.parent.parent if place.parent.name == "Main" else place.parent.parent


def read(place: Path, images: Path | None) -> dict[str, Records]:
    """Return the parts that a folder or a list names: both where its lists do, otherwise all as `train`.

    Raises:
        InputError: a file breaks VOC's form, or none is there.
    """
    if place.is_file():
        return {"train": of_list(list_root(place), place.stem, images)}
    if (place / PARTS[1]).is_dir() or years(place):
        folder = one_folder(place)
        main = folder / PARTS[2]
        lists = {path.stem for path in (main if main.is_dir() else main.parent).glob("*.txt")}
        for pair in LISTED:
            if lists.issuperset(pair):
                found = {part: of_list(folder, name, images) for part, name in zip(PARTED, pair, strict=True)}
                if rest := sorted(lists.difference(pair)):
                    found["train"].remarks.append(f"{pair[0]} and {pair[1]} are read; not so: {', '.join(rest[:10])}.")
                return found
        alone = next((name for name in ALONE if name in lists), None)
        if alone:
            found = of_list(folder, alone, images)
            found.remarks.append(f"only the pictures of the list {alone} are read.")
            return {"train": found}
        inside = folder / PARTS[0] if (folder / PARTS[0]).is_dir() else images
        found = of_folder(folder / PARTS[1], inside)
        if lists:
            pairs = " or ".join(map(" and ".join, LISTED))
            some = ", ".join(sorted(lists)[:10])
            found.remarks.append(f"warning: the lists {some} are not read, for only {pairs} are taken as two parts.")
        return {"train": found}
    return {"train": of_folder(place, images)}


def one_folder(place: Path) -> Path:
    """Return the one VOC folder that is named. Raises InputError where there are several."""
    found = years(place)
    if not (place / PARTS[1]).is_dir() and len(found) > 1:
        raise InputError(f"{place} holds {', '.join(path.name for path in found)}; name one of them, or its lists.")
    return find_folders(place)[1][0] if (place / PARTS[0]).is_dir() or found else place


def of_list(folder: Path, name: str, images: Path | None) -> Records:
    """Return the images of a list of a VOC folder."""
    stems, _ = read_split(folder, name)
    root = folder / PARTS[0] if (folder / PARTS[0]).is_dir() or images is None else images
    return collected([(stem, as_named(folder / PARTS[1] / f"{stem}.xml")) for stem in stems], ByName(root))


def of_folder(folder: Path, images: Path | None) -> Records:
    """Return the images of all annotations in a folder; the pictures lie in another or beside them."""
    root = images or folder
    annotations = [(path.relative_to(folder).with_suffix("").as_posix(), path) for path in files(folder, [".xml"])]
    if not annotations:
        raise InputError(f"{folder} holds no .xml file; name the folder of the annotations.")
    known = ByName(root)
    found = collected(annotations, known)
    used = {entry["file_name"] for entry in found.images}
    bare = [path for path in known.found if path.relative_to(root).as_posix() not in used]
    if bare:
        found.remarks.append(
            f"warning: {plural(len(bare), 'picture')} without an annotation file left out, such as {bare[0].name}; "
            "where they show no object, give them an annotation without <object>."
        )
    return found


def settle(found: Mapping[str, Records]) -> None:
    """Take corners of all parts as counted from 0 where one lies there: some programs write VOC so."""
    every = [(path, one["bbox"]) for part in found.values() for path, objects in part.each() for one in objects]
    at_zero = next((path for path, box in every if min(box[:2]) == -1), None)
    if at_zero is None or min(min(box[:2]) for _, box in every) < -1:  # what lies outside is judged later
        return
    for _, box in every:
        box[0] += 1
        box[1] += 1
    found["train"].remarks.append(
        f"corners count from 0 here (one of {at_zero} lies there), not from 1 as VOC's; they are taken so."
    )


def collected(annotations: list[tuple[str, Path]], known: ByName) -> Records:
    """Return the objects of annotation files, each with the picture of its name."""
    found = Records(known.folder, [])
    for stem, path in annotations:
        size, declared, objects = read_annotation(str(path), path.as_posix())
        picture = known.of(stem, Path(declared.strip().replace("\\", "/")).stem)
        for one in objects:
            x1, y1, x2, y2 = one["bbox"]
            one["bbox"] = [x1 - 1, y1 - 1, x2, y2]  # 1-based with their last pixel, as half-open ones
        found.add(picture or known.folder / f"{stem}{SUFFIXES[0]}", objects, size)
    found.names = sorted({one["name"] for objects in found.objects for one in objects})
    if not found.names:
        raise InputError(f"{shown(str(annotations[0][1].parent))} has no object; name annotations with objects.")
    return found
