"""Preset `people`: the photographs of val2017 that hold a person, split by a hash of their ids, at one small size.

They are scaled down to 384 pixels, as much as networks of a CPU's size see of them; a copy of val2017 and a smaller one
then give the same data set, as far as they have its images.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.data.coco_splits import instances, write
from pipeline.data.images import check_root
from pipeline.data.names import locate
from pipeline.errors import InputError

LONG_SIDE = 384  # pixels
VALIDATES = 51  # of 256 values of the hash: a fifth


def rebuild_people(annotations: Path) -> dict[str, int]:
    """Write instances_train.json and instances_val.json, and their images beside the folder; return how many they have.

    Reads the folder `original` beside it: val2017 with its instances file, or `images` with instances_train.json and
    instances_val.json, a part of COCO that somebody has split. Images without a file are left out, with their number
    on the screen. Annotations of all categories stay; masks stay where they are polygons.

    Raises:
        InputError: a file is missing or damaged, or an image has another size than its entry.
    """
    folder = annotations.parent
    coco, root = with_person(folder / "original")
    out = folder / "images"
    for place in (annotations, out):
        place.mkdir(parents=True, exist_ok=True)
    scaled = {}
    for image in coco["images"]:
        source = Path(locate(root, image["file_name"], f"image {image['id']}"))
        if source.is_file():
            scaled[image["id"]] = scale_image(image, source, out)
    found, missing = len(scaled), len(coco["images"]) - len(scaled)
    text = f"People: {found} photographs" + (
        f", {missing} others have no file in {root} and are left out" * bool(missing)
    )
    print(text, file=sys.stderr, flush=True)
    counts = {}
    for split, wanted in (("train", False), ("val", True)):
        images = {key: entry for key, entry in scaled.items() if validates(key) == wanted}
        objects = [
            scale_object(one, images[one["image_id"]]) for one in coco["annotations"] if one["image_id"] in images
        ]
        content = {"images": list(images.values()), "annotations": objects, "categories": coco["categories"]}
        write(annotations / f"instances_{split}.json", content)
        counts[split] = len(images)
    return counts


def validates(image_id: int) -> bool:
    """Whether an image validates; it depends on nothing but its id."""
    return hashlib.sha256(str(image_id).encode()).digest()[0] < VALIDATES


def with_person(original: Path) -> tuple[dict[str, Any], Path]:
    """Return the images that hold a person, all of their annotations, and the folder of the images."""
    whole = original / "annotations/instances_val2017.json"
    files = (
        [whole] if whole.is_file() else [original / f"annotations/instances_{part}.json" for part in ("train", "val")]
    )
    parts = [instances(path) for path in files]
    images, objects = ([one for part in parts for one in part[key]] for key in ("images", "annotations"))
    categories = parts[0].get("categories", [])
    person = next((one["id"] for one in categories if one["name"] == "person"), None)
    if person is None or any(part.get("categories") != categories for part in parts):
        raise InputError(
            f"{files[0]} has no category 'person' or other categories than its neighbour; take COCO's own."
        )
    chosen = {one["image_id"] for one in objects if one["category_id"] == person}
    root = original / ("val2017" if whole.is_file() else "images")
    check_root(root)
    return {
        "images": [one for one in images if one["id"] in chosen],
        "annotations": [one for one in objects if one["image_id"] in chosen],
        "categories": categories,
    }, root


def scale_image(entry: dict[str, Any], source: Path, folder: Path) -> dict[str, Any]:
    """Write an image at no more than `LONG_SIDE`, as it is where it is no larger; return its new entry."""
    size = entry["width"], entry["height"]
    target = folder / entry["file_name"]
    try:
        with Image.open(source) as picture:
            if picture.size != size:
                raise InputError(f"{source} has {picture.size} pixels, its entry says {size}; restore the file.")
            ratio = LONG_SIDE / max(size)
            if ratio < 1:
                new = tuple(max(1, round(side * ratio)) for side in size)
                picture.convert("RGB").resize(new, Image.Resampling.BICUBIC).save(target, "JPEG", quality=95)
            else:
                new = size
                target.write_bytes(source.read_bytes())
    except (OSError, SyntaxError) as error:
        raise InputError(f"{source} cannot be decoded ({error}); restore it from its source.") from error
    return {"id": entry["id"], "file_name": entry["file_name"], "width": new[0], "height": new[1], "original": size}


def scale_object(entry: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    """Return an annotation in the pixels of a scaled image."""
    x, y = (image[side] / before for side, before in zip(("width", "height"), image["original"], strict=True))
    new = {**entry, "bbox": [value * factor for value, factor in zip(entry["bbox"], (x, y, x, y), strict=True)]}
    if "area" in entry:
        new["area"] = entry["area"] * x * y
    polygons = new.pop("segmentation", None)
    if isinstance(polygons, list):
        new["segmentation"] = [[value * (x, y)[k % 2] for k, value in enumerate(part)] for part in polygons]
    return new
