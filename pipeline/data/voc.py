"""Read PASCAL VOC folders into the form that `coco.read_instances` returns.

VOC's boxes are 1-based and include their last pixel: (x1, y1, x2, y2) becomes half-open [x1 - 1, y1 - 1, w, h].

`difficult` objects get both flags, `difficult: 1` and `iscrowd: 1`. VOC's evaluation ignores detections of them, and
COCO's form of that is an ignore region. Training and COCO-style evaluation, which read only `iscrowd`, therefore treat
them correctly; VOC-style evaluation reads `difficult`.
"""

import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.data.coco import check_instances
from pipeline.data.exclusions import shown
from pipeline.data.images import locate
from pipeline.errors import InputError, nearest
from pipeline.files import read_text

PARTS = ("JPEGImages", "Annotations", "ImageSets/Main")
SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
MOST_CHARACTERS = 20_000_000  # of one annotation file


def read_voc(
    root: Path,
    split: str,
    years: Sequence[str] = (),
    names: Sequence[str] = (),
    missing_images: str = "error",
) -> tuple[dict, Counter, dict[str, list[str]]]:
    """Read one split of a VOC folder; return what `read_instances` does, and `images_root`, the root of file names.

    `root` has JPEGImages, Annotations and ImageSets/Main, or contains such folders as VOCdevkit/VOC2012 or VOC2012;
    `years` selects and joins several ("07+12"). Given class `names` have ids 1, 2, …; further names follow in
    alphabetical order, as in VOC. Raise InputError where the folder breaks a rule.
    """
    base, folders = find_folders(Path(root), years)
    images, objects = [], []
    for folder in folders:
        for stem in read_split(folder, split):
            image, found = _read_annotation(base, folder, stem)
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
    coco, counts, examples = check_instances(data, f"{root} ({split})", base, missing_images)
    return {**coco, "images_root": base.as_posix()}, counts, examples


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


def read_split(folder: Path, split: str) -> list[str]:
    """Return the image names of a split, in the order of its file; raise InputError where it is missing or empty."""
    lists = folder / PARTS[2]
    if not (lists / f"{split}.txt").is_file():
        known = sorted(path.stem for path in lists.glob("*.txt")) if lists.is_dir() else []
        raise InputError(
            f"{lists} has no split '{split}', only {', '.join(known[:10]) or 'nothing'}"
            f"{nearest(split, known).rstrip('?')}; correct the name."
        )
    stems = []
    for line in read_text(lists / f"{split}.txt").splitlines():
        words = line.split()
        if words:  # lists of one class have a flag 1, 0 or -1 after the name
            stems.append(words[0] if len(words) == 2 and words[1] in ("1", "0", "-1") else line.strip())
    if not stems:
        raise InputError(f"{lists / split}.txt names no image, so the data set is empty; fill it.")
    repeated = [stem for stem, count in Counter(stems).items() if count > 1]
    if repeated:
        raise InputError(f"{lists / split}.txt names {shown(repeated[0])} more than once; remove the repetition.")
    return stems


def _read_annotation(base: Path, folder: Path, stem: str) -> tuple[dict, list[dict]]:
    """Return an image entry and its objects, with a `name` instead of a category id."""
    locate(folder / PARTS[1], f"{stem}.xml", f"{folder / PARTS[2]}")
    place = (folder / PARTS[1] / f"{stem}.xml").as_posix()
    tree = _parse(place)
    file_name = _image_name(folder, stem, tree.findtext("filename") or "")
    image = {"file_name": (folder / PARTS[0] / file_name).relative_to(base).as_posix()}
    for key in ("width", "height"):
        text = (tree.findtext(f"size/{key}") or "").strip()
        if text in ("", "0"):
            continue  # some tools leave the size at 0: it will be read from the image file
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise InputError(f"{place} has {key} {shown(text)}, but it must be a whole number of pixels; correct it.")
        image[key] = int(text)
    return image, [_object(node, f"{place}: object {i}") for i, node in enumerate(tree.findall("object"), start=1)]


def _parse(place: str) -> ElementTree.Element:
    text = read_text(place)
    if "<!DOCTYPE" in text or "<!ENTITY" in text or len(text) > MOST_CHARACTERS:
        raise InputError(f"{place} declares entities or is huge, which no VOC annotation does; re-create it.")
    try:
        tree = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise InputError(f"{place} is not valid XML ({error}); repair or re-download it.") from error
    if tree.tag != "annotation":
        raise InputError(f"{place} holds <{tree.tag}>, but a VOC annotation is <annotation>; correct the file.")
    return tree


def _object(node: ElementTree.Element, place: str) -> dict:
    name = (node.findtext("name") or "").strip()
    if not name:
        raise InputError(f"{place} has no name; add it, or remove the object.")
    box = node.find("bndbox")  # the direct child only: person layouts have boxes of parts further below
    if box is None:
        raise InputError(f"{place} ({name}) has no bndbox; add it, or remove the object.")
    x1, y1, x2, y2 = (_coordinate(box, key, f"{place} ({name})") for key in ("xmin", "ymin", "xmax", "ymax"))
    difficult = (node.findtext("difficult") or "0").strip()
    if difficult not in ("", "0", "1"):
        raise InputError(f"{place} ({name}) has difficult {shown(difficult)}, but it must be 0 or 1; correct it.")
    entry = {"name": name, "bbox": [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]}
    return {**entry, "iscrowd": 1, "difficult": 1} if difficult == "1" else {**entry, "iscrowd": 0}


def _coordinate(box: ElementTree.Element, key: str, place: str) -> float:
    text = box.findtext(key, "")
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"{place} has {key} {shown(text)}, but it must be a number of pixels; correct it or remove the object."
        ) from None


def _image_name(folder: Path, stem: str, declared: str) -> str:
    """Return the image's name: the stem of the list (VOC's rule) with the first suffix whose file exists."""
    suffixes = dict.fromkeys([os.path.splitext(declared.strip())[1] or SUFFIXES[0], *SUFFIXES])
    found = (suffix for suffix in suffixes if os.path.isfile(folder / PARTS[0] / f"{stem}{suffix}"))
    return stem + next(found, SUFFIXES[0])
