"""Object masks: COCO segmentations as run-length codes (RLE) and as arrays, and a check that a split has them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from pipeline.errors import InputError

MOST_WITHOUT = 0.01  # share of objects that may lack a mask, because verification drops a sound file's broken ones


def encode(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Return polygons, joined, or a run-length code as COCO's compressed RLE {size: [h, w], counts}."""
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, height, width)
    return {"size": list(segmentation["size"]), "counts": segmentation["counts"]}


def decode(counts: Sequence[bytes | str], height: int, width: int) -> np.ndarray:
    """Decode the `counts` of n compressed RLEs to masks uint8 [n, h, w]."""
    if not counts:
        return np.zeros((0, height, width), dtype=np.uint8)
    return coco_mask.decode([{"size": [height, width], "counts": code} for code in counts]).transpose(2, 0, 1)


def encode_window(window: np.ndarray, top: int, left: int, size: tuple[int, int]) -> dict[str, Any]:
    """Return the compressed RLE, with `counts` as text, of a mask that is zero outside a window (bool [h, w]).

    The window must lie inside the image of `size` (h, w). Time and memory depend on the window, not on the image.
    """
    edges = np.diff(np.pad(window.T, ((0, 0), (1, 1))), axis=1)  # RLE runs down columns
    column, row = np.nonzero(edges)
    borders, times = np.unique((left + column) * size[0] + top + row, return_counts=True)
    borders = borders[times == 1]  # a run that ends at the image's bottom continues at the top of the next column
    counts = np.diff(np.union1d(borders, size[0] * size[1]), prepend=0).tolist()
    code = coco_mask.frPyObjects({"size": list(size), "counts": counts}, *size)
    return {"size": list(size), "counts": code["counts"].decode("ascii")}


def check_masks(split: Mapping[str, Any]) -> None:
    """Raise InputError where more than a hundredth of a split's objects have no mask."""
    objects = [annotation for annotation in split["annotations"] if not annotation["iscrowd"]]
    without = [annotation for annotation in objects if "segmentation" not in annotation]
    if len(without) > MOST_WITHOUT * len(objects):
        first = without[0]
        name = next(image["file_name"] for image in split["images"] if image["id"] == first["image_id"])
        raise InputError(
            f"A detector of masks needs the `segmentation` of every object, but {len(without)} of the {len(objects)} "
            f"objects in {split['images_root']} have no usable one, first annotation {first['id']} of image {name}; "
            "add them to the annotation file and run verify again, or take a detector without masks."
        )


def scorable(split: Mapping[str, Any]) -> dict[str, Any]:
    """Return a split in which every annotation has a segmentation, which scoring masks needs.

    An annotation without one becomes a crowd of its box, where detections are neither right nor wrong. Raise InputError
    where `check_masks` does.
    """
    check_masks(split)
    annotations = []
    for annotation in split["annotations"]:
        if "segmentation" not in annotation:
            x, y, w, h = annotation["bbox"]
            box = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotation = annotation | {"segmentation": [box], "iscrowd": 1}
        annotations.append(annotation)
    return {**split, "annotations": annotations}
