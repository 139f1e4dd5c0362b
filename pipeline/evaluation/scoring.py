"""Score one evaluation against the verified annotations: COCO's numbers and their paired bootstrap replicates.

Proposals have recall instead of AP (SNIP, table 3). Detectors of masks also have the numbers of their masks, named
`mask_ap`, `mask_ap50`, ... Experiments on PASCAL VOC also have VOC's mean AP, `map`, and the AP of every class.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pipeline import paths
from pipeline.data.manifest import load_split
from pipeline.data.masks import scorable
from pipeline.errors import reading
from pipeline.evaluation.bootstrap import replicates_of
from pipeline.evaluation.coco import metrics_of
from pipeline.evaluation.contributions import contributions_of
from pipeline.evaluation.protocol import scaled_area_ranges
from pipeline.files import read_json, write_json
from pipeline.options import ProposalNetwork
from pipeline.parts import load
from pipeline.spec import Spec

if TYPE_CHECKING:
    from pipeline.evaluation.proposals import RecallCounts


def score(spec: Spec, test: str) -> None:
    """Write `paths.metrics` and `paths.bootstrap` of an evaluation."""
    preset, name = spec.preset, paths.evaluation_name(spec.name, test)
    truth = evaluated_part(load_split(spec.manifest, "val"), spec.data.limit_val)
    file = paths.detections(preset.name, name)
    detections = read_json(file)
    draws, seed = preset.verdicts.draws, 0
    if spec.experiment.detector == "d_rfcn_rpn":
        limit = (spec.experiment.rpn or ProposalNetwork()).top * len(spec.experiment.tests[test].short_sides)
        with reading(file, "run its predict stage again"):
            recall, counts = load("recall"), recall_counts(truth, detections, limit, preset.pixel_factor)
        numbers, replicates = recall.recall_of(counts, limit), recall.bootstrap_recall(counts, limit, draws, seed)
    else:
        ranges = scaled_area_ranges(preset.pixel_factor)
        found = contributions_of(truth, detections, "bbox", ranges)
        numbers, replicates = metrics_of(found), replicates_of(found, draws, seed)
        if spec.experiment.has_masks:
            found = contributions_of(scorable(truth), detections, "segm", ranges)
            numbers |= of_masks(metrics_of(found))
            replicates |= of_masks(replicates_of(found, draws, seed))
        if spec.experiment.dataset == "voc":
            numbers |= load("voc").evaluate_voc(truth, detections)
            replicates |= load("voc").bootstrap_voc(truth, detections, draws, seed)
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


def recall_counts(truth: dict[str, Any], proposals: list[dict], limit: int, factor: float) -> RecallCounts:
    """Match proposals to the objects of a split, without its crowds.

    Args:
        truth: the split.
        proposals: COCO results in any order; their category is not read.
        limit: number of proposals per image that count, best first.
        factor: of the size ranges, which are in original COCO pixels (SNIP, table 3).
    """
    rows = {image["id"]: row for row, image in enumerate(truth["images"])}
    objects: list[list[list[float]]] = [[] for _ in rows]
    for annotation in truth["annotations"]:
        if not annotation["iscrowd"]:
            objects[rows[annotation["image_id"]]].append(corners(annotation["bbox"]))
    found: list[list[list[float]]] = [[] for _ in rows]
    for proposal in sorted(proposals, key=lambda proposal: -proposal["score"]):
        if not all(map(math.isfinite, (proposal["score"], *proposal["bbox"]))):
            raise ValueError(f"the score and the box of {proposal} must be finite")
        found[rows[proposal["image_id"]]].append(corners(proposal["bbox"]))
    recall = load("recall")
    return recall.count_recall(objects, found, (limit,), recall.scaled_size_ranges(factor))


def corners(box: list[float]) -> list[float]:
    """Return a box x, y, w, h as x1, y1, x2, y2."""
    x, y, w, h = box
    return [x, y, x + w, y + h]


def of_masks(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return metrics with `mask_` in front of their names."""
    return {f"mask_{name}": value for name, value in metrics.items()}


def evaluated_part(split: dict[str, Any], limit: int | None) -> dict[str, Any]:
    """Return the split, cut to its first `limit` images where the preset sets a limit."""
    if limit is None:
        return split
    images = split["images"][:limit]
    kept = {image["id"] for image in images}
    annotations = [annotation for annotation in split["annotations"] if annotation["image_id"] in kept]
    return {**split, "images": images, "annotations": annotations}
