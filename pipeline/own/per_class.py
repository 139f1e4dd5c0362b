"""What a user wants of one detector besides its AP: AP by class, AP of sizes that exist, thresholds, confusions, cost.

AP of a size averages only the classes that have `LEAST` objects of it, as a class with five says nothing of its size.
All of it comes from the stored detections; the draws of images are those of `evaluation.scoring`, so that replicates
can be paired between detectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline import blocks, config, paths
from pipeline.analysis.costs import test_areas, training_area
from pipeline.evaluation.bootstrap import Replicates, image_counts, mean_draws
from pipeline.evaluation.contributions import Contributions, contributions_of
from pipeline.evaluation.precision import average_precision, mean_of_present
from pipeline.evaluation.protocol import IOU_THRESHOLDS
from pipeline.evaluation.scoring import rounded, scored_part
from pipeline.files import write_json
from pipeline.object_sizes import area_ranges
from pipeline.own.by_class import LEAST, class_metric
from pipeline.own.confusion import confusion, thresholds_of
from pipeline.spec import Spec


def score_classes(spec: Spec, test: str) -> None:
    """Write `paths.per_class_name` of an evaluation among metrics and replicates: of every block, and their means."""
    preset, name = spec.preset, paths.evaluation_name(spec.name, test)
    truth, found = scored_part(spec, paths.detections(preset.name, name))
    once = np.ones((len(truth["images"]), 1), dtype=np.int32)
    draws = np.ascontiguousarray(image_counts(len(truth["images"]), preset.verdicts.draws, 0).T, dtype=np.int32)
    numbers, replicates, counts = [], [], {}
    for detections in found:
        tables = contributions_of(truth, detections, "bbox", area_ranges(preset))
        counts = object_counts(tables, truth["categories"])
        numbers.append({key: rounded(values[0]) for key, values in scores(tables, once, counts).items()})
        replicates.append(scores(tables, draws, counts))
    shown = thresholds_of(truth, found[0])
    about = {
        "experiment": spec.name,
        "test": test,
        "images": len(truth["images"]),
        "categories": [{"id": one["id"], "name": one["name"]} for one in truth["categories"]],
        "objects": counts,
        "thresholds": shown,  # of the first block, as all below
        "confusion": confusion(truth, found[0], {key: one["threshold"] for key, one in shown.items()}),
        "pixels": pixels(spec, test),
    }
    own = paths.per_class_name(name)
    write_json(paths.metrics(preset.name, own), about | blocks.summary(numbers))
    means = {metric: [rounded(value) for value in values] for metric, values in mean_draws(replicates).items()}
    about = {"draws": preset.verdicts.draws, "seed": 0, "images": len(truth["images"])}
    write_json(paths.bootstrap(preset.name, own), about | means, indent=None)


def object_counts(found: Contributions, categories: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Return the objects that count of every class, by its id as text and then by size (`all` first)."""
    return {
        str(category["id"]): dict(zip(found.ranges, table.truth_counts.sum(axis=1).tolist(), strict=True))
        for category, table in zip(categories, found.tables, strict=True)
    }


def scores(found: Contributions, weights: np.ndarray, counts: Mapping[str, Mapping[str, int]]) -> Replicates:
    """Return AP, AP50, AP75, AP by size over the classes with enough objects of it, and AP by class, of every draw.

    Args:
        found: an evaluation.
        weights: int32 [images, B], how often each image occurs in B draws.
        counts: objects by class and size.
    """
    shape = (len(found.tables), len(found.ranges), len(IOU_THRESHOLDS), weights.shape[1])
    values = np.array([average_precision(table, weights) for table in found.tables]).reshape(shape)
    parts = {"ap": values[:, 0], "ap50": values[:, 0, :1], "ap75": values[:, 0, 5:6]}
    for number, size in enumerate(found.ranges[1:], start=1):
        enough = np.array([of_class[size] >= LEAST for of_class in counts.values()], dtype=bool)
        parts[f"ap_{size}"] = values[enough, number]
    for number, key in enumerate(counts):
        parts[class_metric(key)] = values[number : number + 1, 0]
    means = {name: mean_of_present(part) for name, part in parts.items()}
    return {name: [None if np.isnan(one) else float(one) for one in mean] for name, mean in means.items()}


def pixels(spec: Spec, test: str) -> dict[str, Any]:
    """Return the mean pixels of a training input, and those of all that a test looks at of one image.

    An image pyramid counts with all its resolutions. The network that proposes regions, where it is another one, has
    its own under `proposals`.
    """
    options = spec.experiment
    found: dict[str, Any] = {"training": training_area(spec), "test": sum(test_areas(spec, test))}
    if name := options.tests[test].proposals or options.proposals:
        other = config.resolve(name, spec.preset.name)
        found["proposals"] = {"experiment": name, **pixels(other, next(iter(other.experiment.tests)))}
    return found
