"""Score one evaluation against the verified annotations: COCO's numbers and their paired bootstrap replicates."""

from __future__ import annotations

from typing import Any

from pipeline import paths
from pipeline.config import Spec
from pipeline.data.manifest import load_split
from pipeline.evaluation.bootstrap import bootstrap_ap
from pipeline.evaluation.coco import evaluate_detections, scaled_area_ranges
from pipeline.files import read_json, write_json


def score(spec: Spec, test: str) -> None:
    """Write `paths.metrics` and `paths.bootstrap` of an evaluation."""
    preset, name = spec.preset, paths.evaluation_name(spec.name, test)
    truth = evaluated_part(load_split(paths.manifest(preset.name), "val"), preset.data.limit_val)
    detections = read_json(paths.detections(preset.name, name))
    ranges = scaled_area_ranges(preset.pixel_factor)
    numbers = evaluate_detections(truth, detections, area_ranges=ranges)
    draws, seed = preset.verdicts.draws, 0
    replicates = bootstrap_ap(truth, detections, ranges, draws=draws, seed=seed)
    images = len(truth["images"])
    metrics = {name: None if value is None else round(value, 6) for name, value in numbers.items()}
    write_json(
        paths.metrics(preset.name, name),
        {"experiment": spec.name, "test": test, "images": images, "detections": len(detections), **metrics},
    )
    rounded = {
        metric: [None if value is None else round(value, 6) for value in values]
        for metric, values in replicates.items()
    }
    write_json(
        paths.bootstrap(preset.name, name), {"draws": draws, "seed": seed, "images": images, **rounded}, indent=None
    )


def evaluated_part(split: dict[str, Any], limit: int | None) -> dict[str, Any]:
    """Return the split, cut to its first `limit` images where the preset sets a limit."""
    if limit is None:
        return split
    images = split["images"][:limit]
    kept = {image["id"] for image in images}
    annotations = [annotation for annotation in split["annotations"] if annotation["image_id"] in kept]
    return {**split, "images": images, "annotations": annotations}
