"""Ground truth and detections as clean COCO records: checked, copied, and with the ids that matching needs."""

import math
import os
from collections import Counter
from typing import Any

import numpy as np
from pycocotools import mask as masks

from pipeline.data.fields import MAX_SIDE
from pipeline.data.masks import encode
from pipeline.data.segmentation import as_float, decode_counts
from pipeline.errors import InputError, nearest
from pipeline.files import read_json

IOU_TYPES = ("bbox", "segm")


def read_ground_truth(ground_truth: dict | str | os.PathLike, iou_type: str = "bbox") -> dict[str, list[dict]]:
    """Return `images`, `categories` and `annotations`, each sorted by id, with only the keys that scoring reads.

    Annotations are numbered from 1 in file order, because COCO's matching reads id 0 as "no match". A missing `area`
    becomes that of the box (or mask), a missing `iscrowd` becomes 0. The input is not changed.

    Raises:
        InputError: a missing key, a duplicated id, an unknown image or category, a box that is not finite.
    """
    if iou_type not in IOU_TYPES:
        raise ValueError(f"iou_type must be one of {IOU_TYPES}, got {iou_type!r}{nearest(str(iou_type), IOU_TYPES)}.")
    where = "the ground truth" if isinstance(ground_truth, dict) else str(ground_truth)
    data = ground_truth if isinstance(ground_truth, dict) else read_json(ground_truth)
    for key in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise InputError(f"COCO ground truth needs a list {key!r}, which {where} lacks; add it (it may be empty).")
    images = {}
    for entry in _unique(data["images"], "image", where):
        images[entry["id"]] = {key: entry[key] for key in ("id", "height", "width") if key in entry}
    categories = {}
    for entry in _unique(data["categories"], "category", where):
        categories[entry["id"]] = {"id": entry["id"], "name": str(entry.get("name", entry["id"]))}
    annotations = []
    for index, entry in enumerate(data["annotations"]):
        place = f"annotation {index} of {where}"
        record = _record(entry, place, images, categories) | {"id": index + 1, "iscrowd": _crowd(entry, place)}
        _add_shape(record, entry, iou_type, images, place)
        if entry.get("area") is not None:
            record["area"] = _finite(entry["area"], "area", place)
        annotations.append(record)
    return {
        "images": [images[key] for key in sorted(images)],
        "categories": [categories[key] for key in sorted(categories)],
        "annotations": annotations,
    }


def read_detections(
    detections: list[dict] | str | os.PathLike, ground_truth: dict[str, list[dict]], iou_type: str = "bbox"
) -> list[dict]:
    """Return clean copies of COCO results for the images and categories that `read_ground_truth` returned.

    `area` is the box's for "bbox" and the mask's for "segm", where pycocotools takes the box's if a result has both.

    Raises:
        InputError: a missing key, an unknown image or category, a score or box that is not finite.
    """
    where = "the detections" if isinstance(detections, list) else str(detections)
    entries = detections if isinstance(detections, list) else read_json(detections)
    if not isinstance(entries, list):
        raise InputError(
            f"Detections must be a list of COCO results, but {where} holds {_article(entries)}; write the list itself."
        )
    images = {image["id"]: image for image in ground_truth["images"]}
    categories = {category["id"]: category for category in ground_truth["categories"]}
    records = []
    for index, entry in enumerate(entries):
        place = f"entry {index} of {where}"
        record = _record(entry, place, images, categories) | {"id": index + 1, "iscrowd": 0}
        if "score" not in entry:
            raise InputError(f"Each detection needs the key 'score', which {place} lacks; add it.")
        record["score"] = _finite(entry["score"], "score", place)
        _add_shape(record, entry, iou_type, images, place)
        records.append(record)
    return records


def pairwise_iou(detections: list[dict], annotations: list[dict], iou_type: str = "bbox") -> np.ndarray:
    """Return COCO's IoU [D, G]; for a crowd, it is the intersection divided by the detection's area."""
    if not detections or not annotations:
        return np.zeros((len(detections), len(annotations)))
    key = "bbox" if iou_type == "bbox" else "segmentation"
    crowd = [annotation["iscrowd"] for annotation in annotations]
    return masks.iou([entry[key] for entry in detections], [entry[key] for entry in annotations], crowd)


def labels_of(categories: list[dict]) -> list[str]:
    """Return the categories' names, followed by the id where a name occurs twice."""
    names = [category["name"] for category in categories]
    return [
        name if names.count(name) == 1 else f"{name} ({category['id']})"
        for name, category in zip(names, categories, strict=True)
    ]


def _unique(entries: list, noun: str, where: str) -> list[dict]:
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or type(entry.get("id")) is not int:
            raise InputError(f"Each {noun} needs an integer 'id', which {noun} {index} of {where} lacks; add it.")
    twice = [key for key, count in Counter(entry["id"] for entry in entries).items() if count > 1]
    if twice:
        raise InputError(f"The ids of {noun} entries must be unique, but {twice[0]} occurs twice in {where}; renumber.")
    return entries


def _record(entry: Any, place: str, images: dict, categories: dict) -> dict[str, Any]:
    """Return an annotation's or a result's image and category id, checked against the ground truth."""
    record = {}
    for key, known in (("image_id", images), ("category_id", categories)):
        if not isinstance(entry, dict) or key not in entry:
            raise InputError(f"Each annotation and detection needs the key {key!r}, which {place} lacks; add it.")
        try:
            record[key] = known[entry[key]]["id"]
        except (KeyError, TypeError):
            noun = key.removesuffix("_id")
            raise InputError(
                f"Every {key} must name one of the ground truth's {len(known)} {noun} ids, "
                f"but {place} has {entry[key]!r}; correct it, or use the ground truth it belongs to."
            ) from None
    return record


def _add_shape(record: dict, entry: dict, iou_type: str, images: dict, place: str) -> None:
    """Add to a record its `area`, and its `bbox` (x, y, w, h) or `segmentation` (compressed RLE)."""
    if iou_type == "segm":
        record["segmentation"] = _rle(entry.get("segmentation"), images[record["image_id"]], place)
        record["area"] = float(masks.area(record["segmentation"]))
        return
    if "bbox" not in entry:
        raise InputError(f"Each annotation and detection needs the key 'bbox', which {place} lacks; add it.")
    box = _finite(entry["bbox"], "bbox", place)
    if len(box) != 4 or box[2] < 0 or box[3] < 0:
        raise InputError(f"A bbox is [x, y, width >= 0, height >= 0], but {place} has {box}; correct or leave it out.")
    record["bbox"] = box
    record["area"] = box[2] * box[3]


def _crowd(entry: dict, place: str) -> int:
    value = entry.get("iscrowd", 0)
    if not isinstance(value, int) or value not in (0, 1):
        raise InputError(f"iscrowd must be 0 or 1, but {place} has {value!r}; correct it.")
    return int(value)


def _finite(value: Any, key: str, place: str) -> Any:
    """Return a number, or a list of numbers, as Python floats."""
    try:
        number = [float(part) for part in value] if key == "bbox" else float(value)
        finite = all(map(math.isfinite, number)) if key == "bbox" else math.isfinite(number)
    except (TypeError, ValueError, OverflowError):
        finite = False
    if not finite:
        raise InputError(f"{key} must be finite, but {place} has {value!r}; correct or leave it out.")
    return number


def _rle(segmentation: Any, image: dict, place: str) -> dict:
    """Return a polygon list or RLE as compressed RLE of the image's size."""
    try:
        height, width = int(image["height"]), int(image["width"])
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"Masks need the image's height and width, which image {image['id']} of {place} lacks; add them."
        ) from None
    if isinstance(segmentation, dict):
        _check_code(segmentation, height, width, place)
    elif isinstance(segmentation, list) and not _bounded(segmentation):
        raise InputError(f"The points of a mask lie in or near its image, but those of {place} do not; correct it.")
    try:
        rle = encode(segmentation, height, width)
    except Exception as error:  # pycocotools raises many kinds of error, plain Exception included
        raise InputError(
            f"A segmentation is a list of polygons or an RLE, but {place} has neither ({error}); add or correct it."
        ) from error
    return rle


def _check_code(code: dict, height: int, width: int, place: str) -> None:
    """Raise InputError for a run-length code that pycocotools would read past its end, or never finish."""
    if code.get("size") not in ([height, width], (height, width)):
        raise InputError(
            f"A mask has its image's size, [{height}, {width}], but {place} has {code.get('size')!r}; correct it."
        )
    counts = code.get("counts")
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    runs = decode_counts(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(type(run) is int and run >= 0 for run in runs)
    if not whole or sum(runs) != height * width:
        raise InputError(
            f"The runs of a mask are whole numbers from 0 that fill its image's {height * width} pixels, but those of "
            f"{place} do not; write it again."
        )


def _bounded(polygons: list) -> bool:
    """Whether all points are numbers of pixels; pycocotools takes memory for each pixel of an outline."""
    numbers = [as_float(part) for polygon in polygons if isinstance(polygon, list) for part in polygon]
    return all(number is None or abs(number) <= MAX_SIDE for number in numbers)


def _article(value: Any) -> str:
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"
