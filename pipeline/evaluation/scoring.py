"""Score one evaluation against the verified annotations: COCO's numbers and their paired bootstrap replicates.

Proposals have recall instead of AP (SNIP, table 3). Detectors of masks also have the numbers of their masks, named
`mask_ap`, `mask_ap50`, ... Experiments on PASCAL VOC also have VOC's mean AP, `map`, and the AP of every class.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import blocks, paths
from pipeline.data.manifest import load_split
from pipeline.data.masks import scorable
from pipeline.errors import InputError, reading
from pipeline.evaluation.bootstrap import mean_draws, replicates_of
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
    """Write `paths.metrics` and `paths.bootstrap` of an evaluation: of every block, and their means.

    Every block is scored on the same draws of images, so the mean of the replicates is the bootstrap of the mean.
    """
    preset, name = spec.preset, paths.evaluation_name(spec.name, test)
    file = paths.detections(preset.name, name)
    truth, found = scored_part(spec, file)
    scored = [score_block(spec, test, truth, detections, file) for detections in found]
    images = len(truth["images"])
    numbers = [
        {"detections": len(detections), **{key: rounded(value) for key, value in metrics.items()}}
        for detections, (metrics, _) in zip(found, scored, strict=True)
    ]
    about = {"experiment": spec.name, "test": test, "images": images}
    write_json(paths.metrics(preset.name, name), about | blocks.summary(numbers))
    draws, seed = preset.verdicts.draws, 0
    means = mean_draws(part for _, part in scored)
    replicates = {metric: [rounded(value) for value in values] for metric, values in means.items()}
    about = {"draws": draws, "seed": seed, "images": images}
    write_json(paths.bootstrap(preset.name, name), about | replicates, indent=None)


def scored_part(spec: Spec, file: Path) -> tuple[dict[str, Any], list[list[dict]]]:
    """Return the part of the validation split that is scored, and the detections of every block from their file.

    Raises InputError where the file has another number of blocks than the experiment.
    """
    truth = evaluated_part(load_split(spec.manifest, "val"), spec.data.limit_val)
    found = blocks.unlisted(read_json(file))
    if len(found) != spec.blocks:
        raise InputError(
            f"{file} has {len(found)} blocks, and {spec.blocks} are asked for; run its predict stage again."
        )
    return truth, found


def score_block(
    spec: Spec, test: str, truth: dict[str, Any], detections: list[dict], file: Path
) -> tuple[dict[str, Any], dict[str, list[float | None]]]:
    """Return one block's numbers, and their bootstrap replicates."""
    preset, draws, seed = spec.preset, spec.preset.verdicts.draws, 0
    if spec.experiment.detector == "d_rfcn_rpn":
        limit = (spec.experiment.rpn or ProposalNetwork()).top * len(spec.experiment.tests[test].short_sides)
        with reading(file, "run its predict stage again"):
            recall, counts = load("recall"), recall_counts(truth, detections, limit, preset.pixel_factor)
        return recall.recall_of(counts, limit), recall.bootstrap_recall(counts, limit, draws, seed)
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
    return numbers, replicates


def rounded(value: float | None) -> float | None:
    """Return a number to six digits; None stays None."""
    return None if value is None else round(value, 6)


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
