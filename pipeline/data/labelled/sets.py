"""Labels of a whole data set as NumPy arrays, without its images, for annotation statistics.

They are read from COCO's instances files, plain or gzipped, and the rebuilt ones of this project's small data sets.
"""

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.coco import check_instances
from pipeline.errors import InputError
from pipeline.files import read_json

SPLITS = ("train2017", "val2017")
NO_OBJECT = ("degenerate_box", "box_outside", "annotation_of_missing_image")  # reasons that `check_instances` counts
RATIOS = "area_over_bbox_median_ratio_by_category.json"


@dataclass(frozen=True)
class LabelSet:
    """Objects of one split, without crowd regions.

    Attributes:
        name: of the split.
        source: name of the file that it was read from.
        sizes: [I, 2], (height, width) of every image in pixels.
        rows: [n], the image of each object.
        boxes: [n, 4], (x, y, w, h) in image pixels.
        mask_areas: [n], area of each object's mask in pixels, annotated or estimated from its box.
        annotated: [n], whether the mask area is the annotated one.
        categories: [n], the file's category ids.
        left_out: number of annotations that are not among the objects, by reason.
    """

    name: str
    source: str
    sizes: np.ndarray
    rows: np.ndarray
    boxes: np.ndarray
    mask_areas: np.ndarray
    annotated: np.ndarray
    categories: np.ndarray
    left_out: dict[str, int]

    @property
    def box_areas(self) -> np.ndarray:
        """Return w h [n]."""
        return self.boxes[:, 2] * self.boxes[:, 3]

    @property
    def scales(self) -> np.ndarray:
        """Return sqrt(w h / (W H)) [n]: scale relative to the image (SNIP, figure 1)."""
        return np.sqrt(self.box_areas / self.sizes.prod(1)[self.rows])


def read_label_sets(folder: Path) -> dict[str, LabelSet]:
    """Return the splits whose labels are in a folder, from COCO's own file rather than a rebuilt one.

    Raises:
        InputError: no file of any split, or a file that is broken.
    """
    found = {}
    for split in SPLITS:
        names = [f"instances_{split}{kind}" for kind in (".json", ".json.gz", "_rebuilt.json.gz")]
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        boxes = folder / f"{split}_boxes_rebuilt.npz"
        if path is not None:
            found[split] = read_instances_labels(path, split)
        elif boxes.is_file():
            found[split] = read_box_labels(boxes, split)
    if not found:
        raise InputError(
            f"{folder} holds no labels; put instances_val2017.json (or .json.gz) or instances_train2017.json there."
        )
    return found


def read_instances_labels(path: Path, name: str) -> LabelSet:
    """Read an instances file; where an annotation has `area_est`, that is its mask's area."""
    data = read_json(path) if path.suffix == ".json" else read_gzipped(path)
    annotated = {}
    for entry in data.get("annotations", ()) if isinstance(data, dict) else ():
        if isinstance(entry, dict):
            annotated[entry.get("id")] = entry.get("area_src", "official") == "official"
            entry["area"] = entry.get("area_est", entry.get("area"))
    checked, left_out, _ = check_instances(data, str(path), Path())
    objects = [entry for entry in checked["annotations"] if not entry["iscrowd"]]
    index = {image["id"]: row for row, image in enumerate(checked["images"])}
    crowds = len(checked["annotations"]) - len(objects)
    return LabelSet(
        name,
        path.name,
        np.array([[image["height"], image["width"]] for image in checked["images"]], dtype=float).reshape(-1, 2),
        np.array([index[entry["image_id"]] for entry in objects], dtype=int),
        np.array([entry["bbox"] for entry in objects], dtype=float).reshape(-1, 4),
        np.array([entry["area"] for entry in objects], dtype=float),
        np.array([annotated.get(entry["id"], False) for entry in objects], dtype=bool),
        np.array([entry["category_id"] for entry in objects], dtype=int),
        {"crowd": crowds} | {reason: left_out[reason] for reason in NO_OBJECT if left_out[reason]},
    )


def read_box_labels(path: Path, name: str) -> LabelSet:
    """Read boxes without masks; a file beside it has each category's ratio of mask area to box area."""
    try:
        with np.load(path) as arrays:
            keys = ("image_id", "category_id", "bbox_xywh", "img_id", "img_width", "img_height")
            ids, categories, boxes, images, widths, heights = (arrays[key] for key in keys)
    except (KeyError, OSError, ValueError, zlib.error) as error:
        raise InputError(f"{path} is no file of rebuilt boxes ({error}); get it again.") from error
    ratios = mask_ratios(path.parent / RATIOS)
    order = np.argsort(images)
    place = np.searchsorted(images[order], ids).clip(max=max(0, len(images) - 1))
    rows = order[place] if len(images) else place
    boxes = boxes.astype(float)
    usable = (boxes[:, 2:] > 0).all(1) & (images[rows] == ids if len(images) else False)
    unknown = sorted(set(categories.tolist()) - set(ratios))
    if unknown:
        raise InputError(f"{path.parent / RATIOS} has no ratio for category {unknown[0]} of {path.name}; add it.")
    areas = boxes[:, 2] * boxes[:, 3] * np.array([ratios[int(category)] for category in categories])
    sizes = np.stack([heights, widths], axis=1).astype(float)
    kept = (rows[usable], boxes[usable], areas[usable], np.zeros(int(usable.sum()), dtype=bool), categories[usable])
    return LabelSet(name, path.name, sizes, *kept, {"unusable": int((~usable).sum())})


def mask_ratios(path: Path) -> dict[int, float]:
    """Return the ratio of mask area to box area by category."""
    return {int(category): float(ratio) for category, ratio in read_json(path).items()}


def read_gzipped(path: Path) -> Any:
    """Read gzipped JSON; raise InputError where it is broken."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path} is no gzipped JSON ({error}); get it again.") from error
