"""PASCAL VOC's mean average precision at IoU 0.5, by the eleven points of 2007 and by the area of later years."""

import os
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.bootstrap import image_counts
from pipeline.evaluation.inputs import labels_of, pairwise_iou, read_detections, read_ground_truth

IOU = 0.5


def evaluate_voc(
    ground_truth: dict | str | os.PathLike, detections: list[dict] | str | os.PathLike
) -> dict[str, float | None]:
    """Score COCO results as PASCAL VOC's development kit does.

    Detections are taken in order of score over all images. One is right if its best IoU with an object of its class
    exceeds 0.5 and that object was not found before; one whose best object is difficult is neither right nor wrong.

    Args:
        ground_truth: COCO instances dict, or its JSON file; `iscrowd` marks difficult objects (and crowds).
        detections: list of COCO results (boxes x, y, w, h in px), or its JSON file.

    Returns:
        Fractions (0-1): `map` and `map_area` (means over classes with objects), and for each class `ap50_<name>`
        (eleven points) and `ap50_area_<name>`; `None` where a class has no object that counts.

    Raises:
        InputError: as `evaluate_detections`.
    """
    truth = read_ground_truth(ground_truth)
    found = class_finds(truth, read_detections(detections, truth))
    weights = np.ones(len(truth["images"]))
    scores = {name: finds.precision_recall(weights) for name, finds in found.items()}
    points = {name: None if pair is None else eleven_points(*pair) for name, pair in scores.items()}
    areas = {name: None if pair is None else envelope_area(*pair) for name, pair in scores.items()}
    metrics = {"map": _mean(points.values()), "map_area": _mean(areas.values())}
    metrics |= {f"ap50_{name}": value for name, value in points.items()}
    return metrics | {f"ap50_area_{name}": value for name, value in areas.items()}


def bootstrap_voc(
    ground_truth: dict | str | os.PathLike,
    detections: list[dict] | str | os.PathLike,
    draws: int = 200,
    seed: int = 0,
) -> dict[str, list[float | None]]:
    """Return `map` and `map_area` for each of the `draws` samples of images that `bootstrap_ap` draws."""
    truth = read_ground_truth(ground_truth)
    found = class_finds(truth, read_detections(detections, truth))
    replicates: dict[str, list[float | None]] = {"map": [], "map_area": []}
    for weights in image_counts(len(truth["images"]), draws, seed):
        pairs = [finds.precision_recall(weights) for finds in found.values()]
        pairs = [pair for pair in pairs if pair is not None]
        replicates["map"].append(_mean(eleven_points(*pair) for pair in pairs))
        replicates["map_area"].append(_mean(envelope_area(*pair) for pair in pairs))
    return replicates


class Finds(NamedTuple):
    """The objects of one class, and its detections, best score first, without those of difficult objects."""

    right: np.ndarray  # bool [D]
    image: np.ndarray  # int [D], row of the image
    objects: np.ndarray  # int [images], objects that count

    def precision_recall(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return precision and recall [D], with image i taken weights[i] times; None where no object counts."""
        total = float(self.objects @ weights)
        if not total:
            return None
        taken = weights[self.image]
        hits, all_of_them = np.cumsum(taken * self.right), np.cumsum(taken)
        return hits / np.maximum(all_of_them, 1e-9), hits / total


def class_finds(truth: dict[str, list[dict]], results: list[dict]) -> dict[str, Finds]:
    """Match every class's detections to its objects, both as clean records from `inputs`."""
    rows = {image["id"]: row for row, image in enumerate(truth["images"])}
    objects, found = defaultdict(list), defaultdict(list)
    for annotation in truth["annotations"]:
        objects[annotation["category_id"], annotation["image_id"]].append(annotation)
    for detection in sorted(results, key=lambda detection: -detection["score"]):
        found[detection["category_id"]].append(detection)
    table = {}
    for category, name in zip(truth["categories"], labels_of(truth["categories"]), strict=True):
        own = {image: members for (key, image), members in objects.items() if key == category["id"]}
        counts = np.zeros(len(rows))
        for image, members in own.items():
            counts[rows[image]] = sum(not member["iscrowd"] for member in members)
        right, image, taken = [], [], set()
        for detection in found[category["id"]]:
            best = most_overlapped(detection, own.get(detection["image_id"], []))
            if best is not None and best["iscrowd"]:
                continue
            right.append(best is not None and best["id"] not in taken)
            image.append(rows[detection["image_id"]])
            if best is not None:
                taken.add(best["id"])
        table[name] = Finds(np.array(right, dtype=bool), np.array(image, dtype=np.int64), counts)
    return table


def most_overlapped(detection: dict, objects: list[dict]) -> dict | None:
    """Return the object with the largest IoU with a detection, None where that does not exceed 0.5."""
    # A difficult object has a plain IoU here, not a crowd's share of the detection.
    overlaps = pairwise_iou([detection], [annotation | {"iscrowd": 0} for annotation in objects])[0]
    return objects[int(overlaps.argmax())] if len(overlaps) and overlaps.max() > IOU else None


def eleven_points(precision: np.ndarray, recall: np.ndarray) -> float:
    """Return the mean over recalls 0, 0.1, ..., 1 of the best precision at that recall or above (VOC 2007)."""
    best = [precision[recall >= point - 1e-12].max(initial=0.0) for point in np.linspace(0, 1, 11)]
    return float(np.mean(best))


def envelope_area(precision: np.ndarray, recall: np.ndarray) -> float:
    """Return the area under the falling envelope of precision over recall (VOC from 2010 on)."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * np.diff(recall, prepend=0.0)).sum())


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None
