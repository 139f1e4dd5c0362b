"""Read COCO instances files: every entry is checked, and entries that must be left out are counted.

Structural mistakes (a missing key, a wrong type, an unknown or repeated id) raise InputError, because they mean that
the file is not what its author thinks. Boxes without size are expected in real data: they are left out and counted.
"""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.data import images as image_files
from pipeline.data.exclusions import Exclusions, shown
from pipeline.data.segmentation import as_float, check_segmentation
from pipeline.errors import InputError
from pipeline.files import read_json

KEYS = ("images", "annotations", "categories")
MIN_SIDE = 0.01  # pixels; the size of thinner boxes is lost in float32
ROUNDING = 0.05  # pixels; COCO rounds x and width to 0.01 each, so a box may pass the border slightly
MAX_ID = 2**53  # larger JSON numbers are not exact everywhere
MAX_SIDE = 1_000_000  # pixels


def read_instances(
    annotations: Path, images_root: Path, missing_images: str = "error"
) -> tuple[dict, Counter, dict[str, list[str]]]:
    """Read an instances file; return the data set with its own category ids, and counts and examples of exclusions.

    Images: `id, file_name, width, height`. Annotations: `id, image_id, category_id, bbox [x, y, w, h], area, iscrowd`
    and, where usable, `segmentation`. Categories: `id, name`. Each is sorted by id. Image files are opened only where
    an entry lacks its size. Raise InputError at the first entry that breaks a rule.
    """
    return check_instances(_load(annotations), str(annotations), Path(images_root), missing_images)


def check_instances(
    data: Any, place: str, images_root: Path, missing_images: str = "error"
) -> tuple[dict, Counter, dict[str, list[str]]]:
    """Check the content of an instances file, which errors call `place`; return what `read_instances` returns."""
    image_files.check_missing_images_option(missing_images)
    if not isinstance(data, dict):
        raise InputError(
            f"{place} holds {_kind(data)}, but an instances file is one object with the keys {', '.join(KEYS)}; "
            "give the path of such a file."
        )
    absent = [key for key in KEYS if key not in data]
    if absent:
        raise InputError(f"{place} has no key '{absent[0]}'; an instances file needs {', '.join(KEYS)}: add it.")
    exclusions = Exclusions()
    categories = _categories(_entries(data, "categories", place), place)
    images, left_out = _images(_entries(data, "images", place), place, images_root, missing_images, exclusions)
    annotations = _annotations(
        _entries(data, "annotations", place), place, images, left_out, sorted(categories), exclusions
    )
    coco = {
        "images": [images[key] for key in sorted(images)],
        "annotations": annotations,
        "categories": [{"id": key, "name": categories[key]} for key in sorted(categories)],
    }
    return coco, exclusions.counts, exclusions.examples


def clip_box(box: list[float], width: int, height: int) -> tuple[list[float] | None, str | None]:
    """Return the clipped box `[x, y, w, h]` or None, and None, `clipped` or the reason why the box is left out."""
    x, y, w, h = box
    if not all(math.isfinite(value) for value in box) or w < MIN_SIDE or h < MIN_SIDE:
        return None, "degenerate_box"
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
    if right - left < MIN_SIDE or bottom - top < MIN_SIDE:
        return None, "box_outside"
    if (left, top) == (x, y) and x + w <= width and y + h <= height:
        return box, None
    cut = max(left - x, top - y, x + w - right, y + h - bottom)
    return [left, top, right - left, bottom - top], "clipped" if cut > ROUNDING else None


def _load(path: Path) -> Any:
    try:
        return read_json(path)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, or as many nested brackets
        raise InputError(f"{path} cannot be read as JSON ({shown(str(error))}); repair or re-download it.") from error


def _entries(data: dict, key: str, place: str) -> list[dict]:
    if not isinstance(data[key], list):
        raise InputError(f"{place}: '{key}' is {_kind(data[key])}, but it must be a list; correct it.")
    for index, entry in enumerate(data[key]):
        if not isinstance(entry, dict):
            raise InputError(f"{place}: {key}[{index}] is {shown(entry)}, but it must be an object; correct it.")
    return data[key]


def _categories(entries: list[dict], place: str) -> dict[int, str]:
    if not entries:
        raise InputError(f"{place} lists no categories, so no box can have one; fill 'categories' with id and name.")
    names: dict[int, str] = {}
    for index, entry in enumerate(entries):
        here = f"{place}: categories[{index}]"
        key = _whole_number(entry, "id", here)
        if key in names:
            raise InputError(f"{here} repeats the category id {key}; give every category its own id.")
        names[key] = _text(entry, "name", here)
    return names


def _images(
    entries: list[dict], place: str, root: Path, missing_images: str, exclusions: Exclusions
) -> tuple[dict[int, dict], set[int]]:
    """Return images by id, and the ids of images left out because they have neither a size nor a file."""
    if not entries:
        raise InputError(f"{place} lists no images, so the data set is empty; fill 'images'.")
    images: dict[int, dict] = {}
    left_out: set[int] = set()
    for index, entry in enumerate(entries):
        here = f"{place}: images[{index}]"
        key = _whole_number(entry, "id", here)
        if key in images or key in left_out:
            raise InputError(f"{here} repeats the image id {key}; give every image its own id.")
        here = f"{here} (id {key})"
        name = _text(entry, "file_name", here)
        path = image_files.locate(root, name, here)
        width, height = _side(entry, "width", here), _side(entry, "height", here)
        if width is None or height is None:
            image_files.check_root(root)
            if not image_files.exists(path, root, name, here, missing_images):
                left_out.add(key)
                exclusions.add("missing_image", f"image {key}: {shown(name)}")
                continue
            stored = image_files.stored_size(path, name, here)
            width, height = width or stored[0], height or stored[1]
            exclusions.add("size_from_file", f"image {key}: {width}x{height}")
        images[key] = {"id": key, "file_name": name, "width": width, "height": height}
    return images, left_out


def _annotations(
    entries: list[dict],
    place: str,
    images: dict[int, dict],
    left_out: set[int],
    categories: list[int],
    exclusions: Exclusions,
) -> list[dict]:
    known = set(categories)
    first_index: dict[int, int] = {}
    unnumbered: list[dict] = []
    kept: list[dict] = []
    for index, entry in enumerate(entries):
        here = f"{place}: annotations[{index}]"
        key = None
        if entry.get("id") is not None:  # COCO's evaluation needs ids, but files with boxes only often lack them
            key = _whole_number(entry, "id", here)
            if first_index.setdefault(key, index) != index:
                raise InputError(
                    f"{here} repeats the annotation id {key} of annotations[{first_index[key]}]; "
                    "give every annotation its own id."
                )
            here = f"{here} (id {key})"
        image_id = _whole_number(entry, "image_id", here)
        if image_id not in images and image_id not in left_out:
            raise InputError(
                f"{here} is for image {image_id}, which is not in 'images'; add the image or remove the annotation."
            )
        category_id = _whole_number(entry, "category_id", here)
        if category_id not in known:
            raise InputError(f"{here} has category_id {category_id}, {_unknown_category(category_id, categories)}")
        box, crowd = _box(entry, here), _crowd(entry, here)
        name = f"annotation {key}" if key is not None else f"annotations[{index}]"
        name = f"{name} of {shown(images[image_id]['file_name'])}" if image_id in images else name
        if image_id in left_out:
            exclusions.add("annotation_of_missing_image", name)
            continue
        annotation = {"id": key, "image_id": image_id, "category_id": category_id}
        shape = _shape(entry, box, images[image_id], name, exclusions)
        if shape is None:
            continue
        annotation |= {"bbox": shape.pop("bbox"), "area": shape.pop("area"), "iscrowd": crowd} | shape
        if entry.get("difficult") == 1:
            annotation["difficult"] = 1
        kept.append(annotation)
        if key is None:
            unnumbered.append(annotation)
    return _numbered(kept, unnumbered, max(first_index, default=0), exclusions)


def _shape(entry: dict, box: list[float], image: dict, name: str, exclusions: Exclusions) -> dict | None:
    """Return `bbox`, `area` and, where usable, `segmentation`; None where the box must be left out."""
    width, height = image["width"], image["height"]
    clipped, reason = clip_box(box, width, height)
    if reason is not None:
        exclusions.add(reason, f"{name}: [{', '.join(f'{value:g}' for value in box)}] in {width}x{height}")
    if clipped is None:
        return None
    shape: dict = {"bbox": clipped}
    box_area = clipped[2] * clipped[3]
    mask, mask_area = None, 0.0
    if entry.get("segmentation") not in (None, [], {}):
        mask, mask_area, dropped = check_segmentation(entry["segmentation"], width, height)
        if mask is None:
            exclusions.add("bad_mask", name)
        for _ in range(dropped if mask is not None else 0):
            exclusions.add("bad_mask_part", name)
    shape["area"] = _area(entry, clipped != box, box_area, mask_area, name, exclusions)
    if mask is not None:
        shape["segmentation"] = mask
    return shape


def _area(
    entry: dict, was_clipped: bool, box_area: float, mask_area: float, name: str, exclusions: Exclusions
) -> float:
    """Return the area in square pixels: the given one, else the mask's, else the box's."""
    area = as_float(entry.get("area"))
    if area is not None and math.isfinite(area) and area > 0:
        return min(area, box_area) if was_clipped else area
    if entry.get("area") is not None:
        exclusions.add("bad_area", f"{name}: {shown(entry['area'])}")
    return min(mask_area, box_area) if mask_area > 0 else box_area


def _numbered(kept: list[dict], unnumbered: list[dict], highest: int, exclusions: Exclusions) -> list[dict]:
    """Return annotations sorted by id, after adding missing ids, and renumbering all where an id is below 1."""
    for offset, annotation in enumerate(unnumbered, start=1):
        annotation["id"] = max(highest, 0) + offset
    kept.sort(key=lambda annotation: annotation["id"])
    if kept and kept[0]["id"] < 1:
        for annotation in kept:
            if annotation["id"] < 1:
                exclusions.add("renumbered", f"annotation {annotation['id']}")
        for number, annotation in enumerate(kept, start=1):
            annotation["id"] = number
    return kept


def _whole_number(entry: dict, key: str, place: str) -> int:
    if key not in entry:
        raise InputError(f"{place} has no {key}; add it, or remove the entry.")
    value = entry[key]
    if type(value) is not int or not -MAX_ID < value < MAX_ID:
        raise InputError(f"{place} has {key} {shown(value)}, but it must be a whole number below 2^53; correct it.")
    return value


def _text(entry: dict, key: str, place: str) -> str:
    if key not in entry:
        raise InputError(f"{place} has no {key}; add it, or remove the entry.")
    value = entry[key]
    if not isinstance(value, str) or not value.strip() or any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(f"{place} has {key} {shown(value)}, but it must be text; correct it.")
    return value


def _side(entry: dict, key: str, place: str) -> int | None:
    value = entry.get(key)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= MAX_SIDE:
        raise InputError(
            f"{place} has {key} {shown(value)}, but it must be a whole number of pixels from 1 to {MAX_SIDE}; correct "
            "it, or remove it to have it read from the file."
        )
    return value


def _box(entry: dict, place: str) -> list[float]:
    if "bbox" not in entry:
        raise InputError(f"{place} has no bbox; add [x, y, width, height], or remove the annotation.")
    value = entry["bbox"]
    numbers = [as_float(number) for number in value] if isinstance(value, list) else []
    if len(numbers) != 4 or any(number is None for number in numbers):
        raise InputError(
            f"{place} has bbox {shown(value)}, but a box is four numbers [x, y, width, height]; correct it or remove "
            "the annotation."
        )
    return numbers


def _crowd(entry: dict, place: str) -> int:
    value = entry.get("iscrowd")
    if value is not None and (not isinstance(value, int) or value not in (0, 1)):
        raise InputError(f"{place} has iscrowd {shown(value)}, but it must be 0 or 1; correct it.")
    return int(value or 0)


def _unknown_category(value: int, known: list[int]) -> str:
    closest = min(known, key=lambda key: (abs(key - value), key))
    return (
        f"but the {len(known)} categories of the file have ids from {known[0]} to {known[-1]} (nearest: {closest}); "
        "add the category or correct the annotation."
    )


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
