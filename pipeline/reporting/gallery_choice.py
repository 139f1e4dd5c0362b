"""Which images a gallery shows, and which detections on them are right: matching at IoU 0.5, thresholds by best F1."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

THRESHOLDS = tuple(i / 20 for i in range(1, 20))  # 0.05 to 0.95
CROWDED = 40  # objects above which a picture cannot be read


@dataclass(frozen=True)
class Matched:
    """One image under one model at its threshold: what is shown, what of it is right, which objects are missed."""

    detections: list[dict]
    right: list[bool]
    missed: list[bool]  # for each object of the image

    @property
    def score(self) -> int:
        """Right minus wrong minus missed."""
        return sum(1 if right else -1 for right in self.right) - sum(self.missed)


def group(records: Sequence[Mapping]) -> dict[int, list[dict]]:
    """Return annotations or detections by image id, best score first where they have one."""
    grouped = defaultdict(list)
    for record in records:
        grouped[record["image_id"]].append(record)
    return {key: sorted(values, key=lambda r: -r.get("score", 0)) for key, values in grouped.items()}


def match(truths: Sequence[Mapping], detections: Sequence[Mapping]) -> list[int]:
    """Return for each detection, best first, the free object of its category of highest IoU from 0.5, or -1."""
    if not detections or not truths:
        return [-1] * len(detections)
    ious = box_iou([d["bbox"] for d in detections], [t["bbox"] for t in truths])
    same = np.array([[d["category_id"] == t["category_id"] for t in truths] for d in detections])
    ious = np.where(same, ious, -1.0)
    matched = []
    for row in range(len(detections)):
        best = int(ious[row].argmax())
        matched.append(best if ious[row, best] >= 0.5 else -1)
        if matched[-1] >= 0:
            ious[:, best] = -1.0
    return matched


def box_iou(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> np.ndarray:
    """Return IoUs [n, m] of boxes given as x, y, width, height."""
    a, b = np.asarray(first, dtype=float)[:, None], np.asarray(second, dtype=float)[None]
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    return shared / np.maximum(a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - shared, 1e-12)


def best_threshold(truths: Mapping[int, list], detections: Mapping[int, list]) -> tuple[float, float]:
    """Return the score threshold with the best F1 over all images at IoU 0.5, and that F1; the lowest of equal ones.

    Greedy matching takes detections by falling score, so one pass serves every threshold.
    """
    scores, hits = [], []
    for image, found in detections.items():
        matched = match(truths.get(image, []), found)
        scores += [detection["score"] for detection in found]
        hits += [index >= 0 for index in matched]
    scores, hits = np.array(scores, dtype=float), np.array(hits, dtype=bool)
    objects = sum(len(annotations) for annotations in truths.values())
    best = (0.5, 0.0)
    for threshold in THRESHOLDS:
        shown = scores >= threshold
        f1 = 2 * (hits & shown).sum() / max(1, shown.sum() + objects)
        if f1 > best[1] + 1e-12:
            best = (threshold, float(f1))
    return best


def shown_at(threshold: float, truths: Sequence[Mapping], detections: Sequence[Mapping]) -> Matched:
    """Return what a model shows on one image at its threshold."""
    shown = [detection for detection in detections if detection["score"] >= threshold]
    matched = match(truths, shown)
    return Matched(shown, [index >= 0 for index in matched], [i not in matched for i in range(len(truths))])


def choose_images(
    truths: Mapping[int, list], sizes: Mapping[int, Mapping[str, int]], runs: Sequence[Mapping[int, Matched]]
) -> list[tuple[int, str]]:
    """Return up to six (image id, why it is shown): most small objects, most large ones, runs that differ most.

    Ties go to the lower id; an image is shown once; crowded images are left out where others exist.
    """
    ids = sorted(image for image in truths if truths[image])
    ids = [image for image in ids if len(truths[image]) <= CROWDED] or ids
    rules = [
        ("most small objects", lambda image: sizes[image]["small"]),
        ("most large objects", lambda image: sizes[image]["large"]),
        ("runs differ most", lambda image: abs(runs[0][image].score - runs[1][image].score)),
    ]
    chosen: list[tuple[int, str]] = []
    for why, value in rules:
        left = [image for image in ids if image not in dict(chosen)]
        chosen += [(image, why) for image in sorted(left, key=lambda image: (-value(image), image))[:2]]
    return chosen
