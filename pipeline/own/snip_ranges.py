"""SNIP's valid ranges from the sizes of a user's objects: each holds the share that the paper's holds of COCO's."""

from __future__ import annotations

from typing import Any

import numpy as np
import yaml

from pipeline import markdown as md
from pipeline import paths
from pipeline.data.manifest import load_manifest, load_split
from pipeline.files import read_yaml, write_text
from pipeline.own.detectors import SNIP
from pipeline.published.coco_curve import curve
from pipeline.verdicts.results import load_experiment

EXPERIMENT = f"{SNIP}_snip"
COCO_SIDE = (640 * 480) ** 0.5  # px: relative scale 1 of COCO's usual photograph
NOTES = {"row": "of no table: its valid ranges are of this data's sizes", "expected": {}, "cost": "as SNIP"}
TRAINING = ("head_range", "proposal_range")


def fit_ranges(preset: str) -> str:
    """Give SNIP's experiment in a comparison's folder the ranges of its data, and return a sentence on them."""
    manifest = paths.ROOT / paths.manifest(preset)
    sizes = object_sizes(load_split(manifest, "train"), load_manifest(manifest).factor)
    path = paths.ROOT / paths.experiment_file(EXPERIMENT)
    content = read_yaml(path)
    printed = [level["head_range"] for level in content["pyramid"]]
    fit(content, sizes)
    write_text(path, yaml.safe_dump(content | {"notes": NOTES}, sort_keys=False))
    load_experiment.cache_clear()
    parts = [
        f"{shown(level['head_range'])} px at {level['short_side']} (paper: {shown(old)})"
        for level, old in zip(content["pyramid"], printed, strict=True)
    ]
    return (
        f"SNIP's valid ranges hold as large a share of your objects as the paper's of COCO's: {md.listing(parts)}, of "
        f"pictures as large as COCO's. A tenth of the objects is {spread(sizes):.1f} times as large as the smallest "
        f"tenth, or larger (COCO: {coco_spread():.1f} times); the less they differ, the less SNIP can do."
    )


def object_sizes(coco: dict[str, Any], factor: float) -> np.ndarray:
    """Return sqrt(w * h) of all objects [n], in pixels of pictures as large as COCO's, sorted."""
    boxes = [one["bbox"] for one in coco["annotations"] if not one["iscrowd"]]
    areas = np.array([box[2] * box[3] for box in boxes], dtype=float)
    return np.sort(np.sqrt(areas)) / factor


def fit(content: dict[str, Any], sizes: np.ndarray) -> None:
    """Move the ends of an experiment's ranges, of training and tests, to the sizes of the same shares, in place."""
    moved = {0: 0}

    def end(value: float | None) -> int | None:
        if value is not None and value not in moved:
            moved[value] = max(1, round(float(np.quantile(sizes, coco_share(value)))))
        return None if value is None else moved[value]

    def ends(found: list) -> list:
        low, high = end(found[0]), end(found[1])
        return [low, high if high is None else max(high, low + 1)]

    for level in content["pyramid"]:
        level |= {key: ends(level[key]) for key in TRAINING}
    for test in content["tests"].values():
        if test.get("valid_ranges"):
            test["valid_ranges"] = [ends(found) for found in test["valid_ranges"]]


def coco_share(size: float) -> float:
    """Return which share of COCO's objects is at most so large (px)."""
    return float(np.interp(size / COCO_SIDE, *curve()))


def coco_spread() -> float:
    """Return the ratio of the 90th to the 10th percentile of COCO's relative scales."""
    scales, shares = curve()
    low, high = np.interp((0.1, 0.9), shares, scales)
    return float(high / low)


def spread(sizes: np.ndarray) -> float:
    """Return the ratio of the 90th to the 10th percentile."""
    low, high = np.quantile(sizes, (0.1, 0.9))
    return float(high / low)


def shown(ends: list) -> str:
    low, high = ends
    return f"from {low:g}" if high is None else f"up to {high:g}" if low == 0 else f"{low:g} to {high:g}"
