"""Read COCO instances files: every entry is checked, and entries that must be left out are counted.

Structural mistakes (a missing key, a wrong type, an unknown or repeated id) raise InputError, because they mean that
the file is not what its author thinks. Boxes without size are expected in real data: they are left out and counted.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data import fields
from pipeline.data import images as image_files
from pipeline.data.areas import unusable
from pipeline.data.boxes import NORMALISED, clip_box, to_xywh
from pipeline.data.conventions import check_centres, check_convention, in_one_quarter
from pipeline.data.exclusions import Exclusions, shown
from pipeline.data.names import locate, relative, tidy
from pipeline.data.orientation import Header, room, settle
from pipeline.data.segmentation import check_segmentation, extents, in_pixels
from pipeline.errors import InputError
from pipeline.files import read_json
from pipeline.preset import AS_FOUND, Data

KEYS = ("images", "annotations", "categories")
Found = tuple[dict, Counter, dict[str, list[str]]]  # data set, counts and examples of exclusions


@dataclass
class Images:
    """Entries of images by id, and what became of the others."""

    kept: dict[int, dict]
    sized: set[int]  # whose entries have a size of their own
    headers: dict[int, Header]
    same: dict[int, int]  # ids of one file, to the one that is kept
    left_out: set[int]  # without a size and a file


def read_instances(
    annotations: Path, images_root: Path, rules: Data = AS_FOUND, others_upright: bool | None = None
) -> Found:
    """Read an instances file; return the data set with its own category ids, and counts and examples of exclusions.

    Images: `id, file_name, width, height` and, where annotated upright but stored turned, `exif`. Annotations: `id,
    image_id, category_id, bbox [x, y, w, h], area, iscrowd` and, where usable, `segmentation`. Categories: `id, name`.
    Each is sorted by id. Of image files that are there, the headers are read. Raise InputError at the first entry that
    breaks a rule.
    """
    data, place = read_json(annotations), str(annotations)
    return check_instances(data, place, Path(images_root), rules, others_upright=others_upright)


def check_instances(
    data: Any,
    place: str,
    images_root: Path,
    rules: Data = AS_FOUND,
    convention: str = "xywh",
    first: int = 0,
    others_upright: bool | None = None,
) -> Found:
    """Check the content of an instances file, which errors call `place`; return what `read_instances` returns.

    Args:
        images_root: the folder that file names start from.
        rules: what the preset says on reading.
        convention: of boxes, where the rules name none (a name of `boxes.CONVENTIONS`).
        first: number of the first pixel.
        others_upright: how another split's turned pictures were annotated (`orientation.settle`).
    """
    if not isinstance(data, dict):
        raise InputError(
            f"{place} holds {fields.kind(data)}, but an instances file is one object with the keys {', '.join(KEYS)}; "
            "give the path of such a file."
        )
    absent = [key for key in KEYS if key not in data]
    if absent:
        raise InputError(f"{place} has no key '{absent[0]}'; an instances file needs {', '.join(KEYS)}: add it.")
    exclusions = Exclusions()
    entries = {key: fields.entries(data, key, place) for key in KEYS}
    used = {entry["category_id"] for entry in entries["annotations"] if type(entry.get("category_id")) is int}
    categories, joined = _categories(entries["categories"], used, place, exclusions)
    images = _images(entries["images"], place, images_root, rules, exclusions)
    records = _records(entries["annotations"], place, images, joined, exclusions)
    _set_boxes(records, images, rules, convention, first, place, others_upright, exclusions)
    annotations = [kept for kept in (_shape(record, images.kept, exclusions) for record in records) if kept]
    coco = {
        "images": [images.kept[key] for key in sorted(images.kept)],
        "annotations": _numbered(annotations, [record["id"] for record in records], exclusions),
        "categories": [{"id": key, "name": categories[key]} for key in sorted(categories)],
    }
    return coco, exclusions.counts, exclusions.examples


def _categories(
    entries: list[dict], used: set[int], place: str, exclusions: Exclusions
) -> tuple[dict[int, str], dict[int, int]]:
    """Return names by id, and the id that stands for each: several of one name are one category."""
    if not entries:
        raise InputError(f"{place} lists no categories, so no box can have one; fill 'categories' with id and name.")
    names: dict[int, str] = {}
    for index, entry in enumerate(entries):
        here = f"{place}: categories[{index}]"
        key = fields.whole_number(entry, "id", here)
        if key in names:
            raise InputError(f"{here} repeats the category id {key}; give every category its own id.")
        given = fields.text(entry, "name", here)
        names[key] = tidy(given)
        if names[key] != given:
            exclusions.add("tidied_name", shown(given))
    groups = defaultdict(list)
    for key in sorted(names):
        groups[names[key]].append(key)
    joined = {}
    for name, keys in groups.items():
        stands = min(keys, key=lambda key: (key not in used, key))  # a tool's root category has no objects
        joined |= dict.fromkeys(keys, stands)
        for key in keys:
            if key != stands:
                exclusions.add("joined_category", f"{shown(name)}: ids {stands} and {key}")
    return {key: names[key] for key in names if joined[key] == key}, joined


def _images(entries: list[dict], place: str, root: Path, rules: Data, exclusions: Exclusions) -> Images:
    if not entries:
        raise InputError(f"{place} lists no images, so the data set is empty; fill 'images'.")
    found = Images({}, set(), {}, {}, set())
    by_file: dict[str, int] = {}
    checked = []
    for index, entry in enumerate(entries):
        here = f"{place}: images[{index}]"
        key = fields.whole_number(entry, "id", here)
        if key in found.same:
            raise InputError(f"{here} repeats the image id {key}; give every image its own id.")
        found.same[key] = key
        checked.append((key, f"{here} (id {key})", entry))
    for key, here, entry in sorted(checked, key=lambda one: one[0]):
        given = fields.text(entry, "file_name", here)
        path = locate(root, given, here, rules.links)
        name = relative(path, root)
        width, height = fields.side(entry, "width", here), fields.side(entry, "height", here)
        if by_file.setdefault(name, key) != key:
            found.same[key] = by_file[name]
            exclusions.add("repeated_file", f"image {key}: {shown(name)}")
            continue
        header = _header(path, given, here, root, rules, needed=width is None or height is None)
        if header is None and (width is None or height is None):
            found.left_out.add(key)
            exclusions.add(image_files.MISSING, f"image {key}: {shown(given)}")
            continue
        if width is None or height is None:
            width, height = width or header.size[0], height or header.size[1]
            exclusions.add("size_from_file", f"image {key}: {width}x{height}")
        else:
            found.sized.add(key)
        if header is not None:
            found.headers[key] = header
        found.kept[key] = {"id": key, "file_name": name, "width": width, "height": height}
    return found


def _header(path: str, name: str, place: str, root: Path, rules: Data, needed: bool) -> Header | None:
    """Return what an image's header says; None without a file, or where it is not needed and cannot be read."""
    if needed:
        image_files.check_root(root)
        there = image_files.exists(path, root, name, place, rules.missing_images)
        return Header(*image_files.stored(path, name, place)) if there else None
    try:
        return Header(*image_files.stored(path, name, place))
    except InputError:  # decoding the whole file will say why
        return None


def _records(
    entries: list[dict], place: str, images: Images, joined: dict[int, int], exclusions: Exclusions
) -> list[dict]:
    """Return the checked fields of the annotations whose images are kept, `id` None where it must be made."""
    known = sorted(joined)
    first_index: dict[int, int] = {}
    records = []
    for index, entry in enumerate(entries):
        here = f"{place}: annotations[{index}]"
        key, name = None, f"annotations[{index}]"
        if entry.get("id") is not None:  # COCO's evaluation needs ids, but files with boxes only often lack them
            key = fields.whole_number(entry, "id", here)
            name = f"annotation {key}"
            here = f"{here} (id {key})"
            if first_index.setdefault(key, index) != index:
                exclusions.add("repeated_id", f"{name}: annotations[{first_index[key]}] and annotations[{index}]")
                key = None
        image_id = fields.whole_number(entry, "image_id", here)
        if image_id not in images.same:
            raise InputError(
                f"{here} is for image {image_id}, which is not in 'images'; add the image or remove the annotation."
            )
        image_id = images.same[image_id]
        category_id = joined[fields.category(entry, known, here)]
        box, crowd = fields.box(entry, here), fields.crowd(entry, here)
        if image_id in images.left_out:
            exclusions.add("annotation_of_missing_image", name)
            continue
        name = f"{name} of {shown(images.kept[image_id]['file_name'])}"
        ids = {"id": key, "image_id": image_id, "category_id": category_id, "iscrowd": crowd}
        records.append(ids | {"bbox": box, "name": name, "entry": entry})
    return records


def _set_boxes(
    records: list[dict],
    images: Images,
    rules: Data,
    usual: str,
    first: int,
    place: str,
    others_upright: bool | None,
    exclusions: Exclusions,
) -> None:
    """Give records their boxes in pixels and their masks, and pictures annotated upright their turned size, in place.

    `usual` is the convention of boxes where the rules name none.
    """
    convention = rules.boxes or usual

    def sizes_of(sizes: dict[int, tuple[int, int]]) -> np.ndarray:
        return np.array([sizes[record["image_id"]] for record in records], dtype=float).reshape(-1, 2)

    numbers = np.array([record["bbox"] for record in records], dtype=float).reshape(-1, 4)
    rooms = sizes_of({key: room(entry, images.headers.get(key)) for key, entry in images.kept.items()})
    check_convention(numbers, rooms, convention, first, place, [record["name"] for record in records])
    shapes = [record["entry"].get("segmentation") for record in records]
    if rules.boxes is None:
        check_centres(numbers, rooms, convention, place, extents(shapes))
    shares = convention in NORMALISED
    by_image = defaultdict(list)
    if not shares:  # which fit both ways
        for record, box in zip(records, to_xywh(numbers, rooms, convention, first), strict=True):
            by_image[record["image_id"]].append(box)
    by_image = {key: np.array(boxes) for key, boxes in by_image.items()}
    settle(images.kept, images.headers, images.sized, by_image, rules.exif, others_upright, exclusions)
    sizes = sizes_of({key: (entry["width"], entry["height"]) for key, entry in images.kept.items()})
    boxes = to_xywh(numbers, sizes, convention, first)
    masks = [
        check_segmentation(in_pixels(shape, *size) if shares else shape, *size)
        for shape, size in zip(shapes, sizes.astype(int).tolist(), strict=True)
    ]
    areas = [record["entry"].get("area") for record in records]
    wrong = unusable(areas, boxes, np.array([area for _, area, _ in masks]))
    for record, box, mask, is_wrong in zip(records, boxes.tolist(), masks, wrong, strict=True):
        record |= {"bbox": box, "mask": mask, "area_is_wrong": is_wrong}
    if in_one_quarter(boxes, sizes):
        for record in records:
            exclusions.add("one_quarter", record["name"])


def _shape(record: dict, images: dict[int, dict], exclusions: Exclusions) -> dict | None:
    """Return an annotation with `bbox`, `area` and, where usable, `segmentation`; None where its box is left out."""
    image, name, entry, box = images[record["image_id"]], record["name"], record["entry"], record["bbox"]
    width, height = image["width"], image["height"]
    clipped, reason = clip_box(box, width, height)
    if reason is not None:
        exclusions.add(reason, f"{name}: [{', '.join(f'{value:g}' for value in box)}] in {width}x{height}")
    if clipped is None:
        return None
    annotation = {key: record[key] for key in ("id", "image_id", "category_id")} | {"bbox": clipped}
    box_area = clipped[2] * clipped[3]
    mask, mask_area, dropped = record["mask"]
    if mask is None and entry.get("segmentation") not in (None, [], {}):
        exclusions.add("bad_mask", name)
    for _ in range(dropped if mask is not None else 0):
        exclusions.add("bad_mask_part", name)
    given = entry.get("area")
    if given is not None and not record["area_is_wrong"]:
        annotation["area"] = min(float(given), box_area) if clipped != box else float(given)
    else:
        annotation["area"] = min(mask_area, box_area) if mask_area > 0 else box_area
    if given is not None and record["area_is_wrong"]:
        exclusions.add("bad_area", f"{name}: {shown(given)} of a box of {box_area:g}")
    annotation["iscrowd"] = record["iscrowd"]
    if mask is not None:
        annotation["segmentation"] = mask
    if entry.get("difficult") == 1:
        annotation["difficult"] = 1
    return annotation


def _numbered(kept: list[dict], ids: list[int | None], exclusions: Exclusions) -> list[dict]:
    """Return annotations sorted by id, after adding missing ids, and renumbering all where an id is below 1."""
    highest = max((key for key in ids if key is not None), default=0)
    for offset, annotation in enumerate((one for one in kept if one["id"] is None), start=1):
        annotation["id"] = max(highest, 0) + offset
    kept.sort(key=lambda annotation: annotation["id"])
    if kept and kept[0]["id"] < 1:
        for annotation in kept:
            if annotation["id"] < 1:
                exclusions.add("renumbered", f"annotation {annotation['id']}")
        for number, annotation in enumerate(kept, start=1):
            annotation["id"] = number
    return kept
