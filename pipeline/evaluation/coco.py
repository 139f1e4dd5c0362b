"""COCO's detection metrics by field-standard names."""

import os

import numpy as np

from pipeline.evaluation.contributions import Contributions, contributions_of
from pipeline.evaluation.precision import mean_ap, mean_of_present, recall
from pipeline.evaluation.protocol import IOU_THRESHOLDS, MAX_DETECTIONS, AreaRanges


def evaluate_detections(
    ground_truth: dict | str | os.PathLike,
    detections: list[dict] | str | os.PathLike,
    iou_type: str = "bbox",
    area_ranges: AreaRanges | None = None,
) -> dict[str, float | None]:
    """Score results as COCO does: AP at IoU .50:.05:.95, 101 recalls, at most 100 detections per category and image.

    Args:
        ground_truth: COCO instances dict, or its JSON file; it is not changed.
        detections: list of COCO results (boxes x, y, w, h in px; RLE masks for "segm"), or its JSON file.
        iou_type: "bbox" or "segm".
        area_ranges: name -> (lo, hi) in px^2, closed; replaces small, medium or large, or adds `ap_<name>` and
            `ar_<name>`.

    Returns:
        Fractions (0-1) named ap, ap50, ap75, ap_small, ap_medium, ap_large, ar1, ar10, ar100, ar_small, ar_medium and
        ar_large; `None` where there is no ground truth (COCO's -1).

    Raises:
        InputError: unreadable files, missing keys, unknown image or category ids, numbers that are not finite.
    """
    return metrics_of(contributions_of(ground_truth, detections, iou_type, area_ranges))


def metrics_of(found: Contributions) -> dict[str, float | None]:
    """Return what `evaluate_detections` returns, of detections that are matched already."""
    once = np.ones((len(found.image_ids), 1), dtype=np.int32)
    shape = (len(found.tables), len(found.ranges), len(IOU_THRESHOLDS), 1)
    recalls = {
        limit: np.array([recall(table, limit) for table in found.tables]).reshape(shape) for limit in MAX_DETECTIONS
    }
    parts = {f"ar{limit}": values[:, 0] for limit, values in recalls.items()}
    parts |= {f"ar_{name}": recalls[MAX_DETECTIONS[-1]][:, a] for a, name in enumerate(found.ranges) if a}
    means = mean_ap(found, once) | {name: mean_of_present(part) for name, part in parts.items()}
    return {name: None if np.isnan(value) else float(value) for name, (value,) in means.items()}
