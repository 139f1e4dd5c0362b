"""At which score to show detections, and what they are then taken for: thresholds and confusions at IoU 0.5.

Thresholds are those of the best F1 on the validation images, class by class; the same images that they are chosen on
flatter them a little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.reporting.gallery_choice import best_threshold, box_iou, group

IOU = 0.5
NOTHING = "0"  # key of what is no object: false alarms are of this row, misses of this column


def objects_of(truth: Mapping[str, Any], crowds: bool = False) -> list[dict]:
    """Return the objects of a split, or (`crowds`) its regions that count neither as right nor as wrong."""
    return [one for one in truth["annotations"] if bool(one["iscrowd"]) == crowds]


def thresholds_of(truth: Mapping[str, Any], detections: Sequence[dict]) -> dict[str, dict[str, float]]:
    """Return by class the score threshold of the best F1, and that F1."""
    result = {}
    for category in truth["categories"]:
        own = [one for one in objects_of(truth) if one["category_id"] == category["id"]]
        found = [one for one in detections if one["category_id"] == category["id"]]
        threshold, f1 = best_threshold(group(own), group(found))
        result[str(category["id"])] = {"threshold": threshold, "f1": round(f1, 6)}
    return result


def confusion(
    truth: Mapping[str, Any], detections: Sequence[dict], thresholds: Mapping[str, float]
) -> dict[str, dict[str, int]]:
    """Return how often an object of one class was shown as each class, or missed: annotated -> shown -> count.

    Detections from their class's threshold on take, best score first, the free object of highest IoU from 0.5 whatever
    its class. `NOTHING` as a class annotated are false alarms, as a class shown misses. Zeros are left out.
    """
    result: dict[str, dict[str, int]] = {}

    def count(annotated: str, shown: str) -> None:
        row = result.setdefault(annotated, {})
        row[shown] = row.get(shown, 0) + 1

    for one in pairs(truth, detections, thresholds):
        count(*(NOTHING if part is None else str(part["category_id"]) for part in one))
    return {key: dict(sorted(row.items(), key=lambda item: int(item[0]))) for key, row in sorted(result.items())}


def pairs(
    truth: Mapping[str, Any], detections: Sequence[dict], thresholds: Mapping[str, float]
) -> list[tuple[dict | None, dict | None]]:
    """Return every object with the detection that it is shown as, objects that are missed, and false alarms."""
    shown = [one for one in detections if one["score"] >= thresholds[str(one["category_id"])]]
    objects, ignored, found = group(objects_of(truth)), group(objects_of(truth, crowds=True)), group(shown)
    result: list[tuple[dict | None, dict | None]] = []
    for image in sorted(objects.keys() | found.keys()):
        own, seen = objects.get(image, []), found.get(image, [])
        free = box_iou([one["bbox"] for one in seen], [one["bbox"] for one in own]) if own and seen else None
        taken = set()
        for row, detection in enumerate(seen):
            best = -1 if free is None else int(free[row].argmax())
            if best >= 0 and free[row, best] >= IOU:
                free[:, best] = -1.0
                taken.add(best)
                result.append((own[best], detection))
            elif not inside(detection, ignored.get(image, [])):
                result.append((None, detection))
        result += [(one, None) for number, one in enumerate(own) if number not in taken]
    return result


def inside(detection: Mapping[str, Any], regions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether at least half of a detection lies in one of the regions that are ignored."""
    x, y, w, h = detection["bbox"]
    for other in regions:
        left, top, width, height = other["bbox"]
        sides = np.minimum([x + w, y + h], [left + width, top + height]) - np.maximum([x, y], [left, top])
        if np.clip(sides, 0, None).prod() >= IOU * w * h:
            return True
    return False
