"""COCO's protocol: thresholds of IoU and recall, limits on detections, and area ranges."""

import numpy as np

UNBOUNDED = 1e5**2  # COCO's upper end of "all" and "large", px^2
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = (1, 10, 100)  # per image and category

AreaRanges = dict[str, tuple[float, float]]


def scaled_area_ranges(factor: float) -> AreaRanges:
    """Return COCO's small, medium and large ranges (closed, px^2) for images whose sides are scaled by `factor`."""
    low, high = (32 * factor) ** 2, (96 * factor) ** 2
    return {"small": (0.0, low), "medium": (low, high), "large": (high, UNBOUNDED)}


def all_area_ranges(area_ranges: AreaRanges | None = None) -> AreaRanges:
    """Return `all` and COCO's three ranges, replaced or extended by `area_ranges`."""
    ranges = {"all": (0.0, UNBOUNDED)} | scaled_area_ranges(1.0)
    for name, (low, high) in (area_ranges or {}).items():
        if name == "all" or not 0 <= low <= high:
            raise ValueError(
                f"An area range is 0 <= lo <= hi under a name other than 'all', got {name}: ({low}, {high})."
            )
        ranges[name] = (float(low), float(high))
    return ranges
