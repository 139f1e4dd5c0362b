"""Read PASCAL VOC folders into the form that `coco.read_instances` returns.

VOC's boxes are 1-based and include their last pixel: (x1, y1, x2, y2) becomes half-open [x1 - 1, y1 - 1, w, h].

`difficult` objects get both flags, `difficult: 1` and `iscrowd: 1`. VOC's evaluation ignores detections of them, and
COCO's form of that is an ignore region. Training and COCO-style evaluation, which read only `iscrowd`, therefore treat
them correctly; VOC-style evaluation reads `difficult`.
"""

import os
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.data.coco import check_instances
from pipeline.data.exclusions import Exclusions, shown
from pipeline.data.names import locate, tidy
from pipeline.errors import InputError, nearest
from pipeline.files import read_bytes, read_text
from pipeline.preset import AS_FOUND, Data

PARTS = ("JPEGImages", "Annotations", "ImageSets/Main")
SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".Jpg", ".Png")
SUFFIXES += tuple(suffix.upper() for suffix in SUFFIXES[6:11])
MOST_BYTES = 20_000_000  # of one annotation file
FLAG = re.compile(r"\s+(1|0|-1)$")  # of a list of one class: whether the image shows it
DIFFICULT = {"": 0, "0": 0, "1": 1, "unspecified": 0, "false": 0, "true": 1, "no": 0, "yes": 1}


def read_voc(
    root: Path,
    split: str,
    years: Sequence[str] = (),
    names: Sequence[str] = (),
    rules: Data = AS_FOUND,
    others_upright: bool | None = None,
) -> tuple[dict, Counter, dict[str, list[str]]]:
    """Read one split of a VOC folder; return what `read_instances` does, and `images_root`, the root of file names.

    `root` has JPEGImages, Annotations and ImageSets/Main, or contains such folders as VOCdevkit/VOC2012 or VOC2012;
    `years` selects and joins several ("07+12"). Given class `names` have ids 1, 2, …; further names follow in
    alphabetical order, as in VOC. Raise InputError where the folder breaks a rule.
    """
    base, folders = find_folders(Path(root), years)
    images, objects, companions = [], [], []
    for folder in folders:
        stems, beside = read_split(folder, split)
        companions += beside
        for stem in stems:
            image, found = _read_annotation(base, folder, stem, rules.links)
            image["id"] = len(images) + 1
            images.append(image)
            objects += [{**entry, "image_id": image["id"]} for entry in found]
    known = [*names, *sorted({entry["name"] for entry in objects} - set(names))]
    if not known:
        raise InputError(f"{root} has no object in split '{split}'; give a split with annotated objects.")
    ids = {name: number for number, name in enumerate(known, start=1)}
    data = {
        "images": images,
        "annotations": [{"id": i, "category_id": ids[e.pop("name")], **e} for i, e in enumerate(objects, start=1)],
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }
    coco, counts, examples = check_instances(data, f"{root} ({split})", base, rules, "xyxy", 1, others_upright)
    exclusions = Exclusions(counts, examples)
    for name in companions:
        exclusions.add("mac_companion", shown(name))
    return {**coco, "images_root": base.as_posix()}, exclusions.counts, exclusions.examples


def find_folders(root: Path, years: Sequence[str] = ()) -> tuple[Path, list[Path]]:
    """Return the folder that file names are relative to, and the VOC folders to read."""
    if not years and (root / PARTS[0]).is_dir():
        return root, [root]
    base = root / "VOCdevkit" if (root / "VOCdevkit").is_dir() else root
    present = sorted(path.name for path in base.glob("VOC*") if path.is_dir())
    if not present:
        raise InputError(
            f"{root} is no VOC folder: neither {', '.join(PARTS)} nor VOCdevkit/VOC<year> is in it; correct the path."
        )
    if not years and len(present) > 1:
        raise InputError(f"{base} holds {', '.join(present)}; name the years to read.")
    wanted = [f"VOC{str(year).removeprefix('VOC')}" for year in years] or present
    for name in wanted:
        if name not in present:
            raise InputError(f"{base} has no {name}, only {', '.join(present)}; correct the year.")
    return base, [base / name for name in wanted]


def read_split(folder: Path, split: str) -> tuple[list[str], list[str]]:
    """Return the image names of a split, in the order of its file, and the Mac's companions (`._name`) that it lists.

    Raise InputError where the list is missing or empty.
    """
    lists = folder / PARTS[2] if (folder / PARTS[2]).is_dir() else folder / "ImageSets"
    if not (lists / f"{split}.txt").is_file():
        known = sorted(path.stem for path in lists.glob("*.txt")) if lists.is_dir() else []
        if not known:
            raise InputError(
                f"{folder / PARTS[2]} has no lists of images (LabelImg and Roboflow write none); write {split}.txt "
                "there, the names of its images one a line without suffix, as "
                f"`ls {PARTS[1]} | sed 's/.xml$//' > {PARTS[2]}/{split}.txt` in {folder} lists all."
            )
        raise InputError(
            f"{lists} has no split '{split}', only {', '.join(known[:10])}"
            f"{nearest(split, known).rstrip('?')}; correct the name."
        )
    lines = [line.strip() for line in read_text(lists / f"{split}.txt").splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        raise InputError(f"{lists / split}.txt names no image, so the data set is empty; fill it.")
    companions = [line for line in lines if os.path.basename(line).startswith("._")]
    stems = _stems(folder, [line for line in lines if line not in companions])
    repeated = [stem for stem, count in Counter(stems).items() if count > 1]
    if repeated:
        raise InputError(f"{lists / split}.txt names {shown(repeated[0])} more than once; remove the repetition.")
    return stems, companions


def _stems(folder: Path, lines: list[str]) -> list[str]:
    """Return the name that each line means: the whole line, or that without a class list's flag, or without a suffix.

    A name may end in a blank and a digit, as the lines of a class list do. Which annotations exist decides, and where
    both do, all lines together.
    """
    whole = [_annotated(folder, line) for line in lines]
    bare = [FLAG.sub("", line) for line in lines]
    if not all(whole) and all(map(FLAG.search, lines)) and all(_annotated(folder, stem) for stem in bare):
        return bare
    stems = []
    for line, is_whole, stem in zip(lines, whole, bare, strict=True):
        cut, suffix = os.path.splitext(line)
        has_suffix = not is_whole and suffix.lower() in (*SUFFIXES, ".xml") and _annotated(folder, cut)
        stems.append(line if is_whole else cut if has_suffix else stem)
    return stems


def _annotated(folder: Path, stem: str) -> bool:
    """Whether there is an annotation of this name; names that are too long or leave the folder are refused later."""
    try:
        return os.path.isfile(locate(folder / PARTS[1], f"{stem}.xml", "", "follow"))
    except (InputError, OSError, ValueError):
        return False


def _read_annotation(base: Path, folder: Path, stem: str, links: str) -> tuple[dict, list[dict]]:
    """Return an image entry and its objects, with a `name` instead of a category id."""
    place = locate(folder / PARTS[1], f"{stem}.xml", f"{folder / PARTS[2]}", links)
    size, declared, objects = read_annotation(place, (folder / PARTS[1] / f"{stem}.xml").as_posix())
    file_name = _image_name(folder, stem, declared, links)
    return {"file_name": (folder / PARTS[0] / file_name).relative_to(base).as_posix(), **size}, objects


def read_annotation(path: str, place: str) -> tuple[dict[str, int], str, list[dict]]:
    """Return what an annotation file says: width and height, where it does, the picture's name, and its objects.

    An object has `name`, `bbox` (x1, y1, x2, y2, 1-based), `iscrowd` and, where it is, `difficult`. `place` names the
    file in errors. Raises InputError where the file breaks a rule.
    """
    tree = _parse(path, place)
    size = {}
    for key in ("width", "height"):
        text = (tree.findtext(f"size/{key}") or "").strip()
        if text in ("", "0"):
            continue  # some tools leave the size at 0: it will be read from the image file
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise InputError(f"{place} has {key} {shown(text)}, but it must be a whole number of pixels; correct it.")
        size[key] = int(text)
    nodes = tree.findall("object")
    objects = [_object(node, f"{place}: object {i}") for i, node in enumerate(nodes, start=1)]
    return size, tree.findtext("filename") or "", objects


def _parse(path: str, place: str) -> ElementTree.Element:
    content = read_bytes(path) if os.path.lexists(path) else read_bytes(place)
    plain = content.replace(b"\0", b"")  # of UTF-16
    if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain or len(content) > MOST_BYTES:
        raise InputError(f"{place} declares entities or is huge, which no VOC annotation does; re-create it.")
    try:
        tree = ElementTree.fromstring(content)  # bytes: the file says its own encoding
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise InputError(f"{place} is not valid XML ({error}); repair or re-download it.") from error
    if tree.tag != "annotation":
        raise InputError(f"{place} holds <{tree.tag}>, but a VOC annotation is <annotation>; correct the file.")
    return tree


def _object(node: ElementTree.Element, place: str) -> dict:
    name = tidy(node.findtext("name") or "")
    if not name:
        raise InputError(f"{place} has no name; add it, or remove the object.")
    box = node.find("bndbox")  # the direct child only: person layouts have boxes of parts further below
    if box is None:
        raise InputError(f"{place} ({name}) has no bndbox; add it, or remove the object.")
    x1, y1, x2, y2 = (_coordinate(box, key, f"{place} ({name})") for key in ("xmin", "ymin", "xmax", "ymax"))
    difficult = (node.findtext("difficult") or "").strip()
    if difficult.lower() not in DIFFICULT:
        raise InputError(f"{place} ({name}) has difficult {shown(difficult)}, but it must be 0 or 1; correct it.")
    entry = {"name": name, "bbox": [x1, y1, x2, y2]}
    return {**entry, "iscrowd": 1, "difficult": 1} if DIFFICULT[difficult.lower()] else {**entry, "iscrowd": 0}


def _coordinate(box: ElementTree.Element, key: str, place: str) -> float:
    text = box.findtext(key, "")
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"{place} has {key} {shown(text)}, but it must be a number of pixels; correct it or remove the object."
        ) from None


def _image_name(folder: Path, stem: str, declared: str, links: str) -> str:
    """Return the image's name: the stem of the list (VOC's rule) with the first suffix whose file exists."""
    suffixes = dict.fromkeys([os.path.splitext(declared.strip())[1] or SUFFIXES[0], *SUFFIXES])
    for suffix in suffixes:
        name = f"{stem}{suffix}"
        if "\0" not in name and os.path.isfile(locate(folder / PARTS[0], name, f"{folder / PARTS[2]}", links)):
            return name
    return stem + SUFFIXES[0]
