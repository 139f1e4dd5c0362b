"""The best valid ranges for a trained detector's image pyramid, searched on some images and judged on others."""

from __future__ import annotations

import sys

import msgspec
from tqdm import tqdm

from pipeline import paths
from pipeline.config import Spec
from pipeline.data.detection_set import DetectionSet
from pipeline.data.manifest import load_split
from pipeline.errors import InputError, nearest
from pipeline.evaluation.coco import evaluate_detections, scaled_area_ranges
from pipeline.evaluation.range_search import Range, Ranges, search_ranges
from pipeline.evaluation.scoring import evaluated_part
from pipeline.files import write_json
from pipeline.training.detection import give_proposals
from pipeline.training.precision import pick_device, set_threads
from pipeline.training.prediction import NMS, coco_results, detect_levels, load_detect, merge

OPEN: Range = (0.0, None)


def search(spec: Spec, test: str) -> None:
    """Search the valid ranges of a pyramid test and write them beside the metrics (SNIP, sections 7.1 and 7.3).

    Every other validation image is used for the search. AP on the rest, with the test's ranges and with those found,
    tells what the search gains.

    Raises:
        InputError: an unknown test, or one of a single resolution.
    """
    preset, tests = spec.preset, spec.experiment.tests
    if test not in tests:
        raise InputError(f"{spec.name} has no test {test!r}{nearest(test, tests)}; it has {sorted(tests)}.")
    options = tests[test]
    if len(options.short_sides) < 2 or spec.experiment.detector == "d_rfcn_rpn":
        raise InputError(
            f"Valid ranges are searched for detections at several resolutions; test {test!r} of {spec.name} has "
            f"{len(options.short_sides)}: name a pyramid's test."
        )
    set_threads(preset)
    device = pick_device()
    split = evaluated_part(load_split(spec.manifest, "val"), spec.data.limit_val)
    data = DetectionSet(split, None)
    give_proposals(data, spec, "val", options.proposals)
    by_level = detect_levels(load_detect(spec, options, data.classes, device), data, spec, options, device)
    iou = spec.experiment.region.nms if spec.experiment.region else NMS
    halves = [range(0, len(data), 2), range(1, len(data), 2)]
    truths = [evaluated_part({**split, "images": [data.entries[row] for row in half]}, len(half)) for half in halves]

    def ap(ranges: Ranges, half: int) -> float | None:
        chosen = msgspec.structs.replace(options, valid_ranges=ranges)
        results = []
        for row in halves[half]:
            merged = merge([level[row] for level in by_level], chosen, preset, iou)
            results.extend(coco_results(data.entries[row]["id"], merged, data.size(row)))
        areas = scaled_area_ranges(preset.pixel_factor)
        return evaluate_detections(truths[half], results, area_ranges=areas)["ap"]

    start = options.valid_ranges or (OPEN,) * len(options.short_sides)
    with tqdm(desc=f"{spec.name} ranges", file=sys.stderr, mininterval=2.0) as bar:

        def score(ranges: Ranges) -> float | None:
            value = ap(ranges, 0)
            bar.update()
            return value

        found = search_ranges(score, tuple(start))
    write_json(
        paths.metrics(preset.name, f"{paths.evaluation_name(spec.name, test)}_ranges"),
        {
            "experiment": spec.name,
            "test": test,
            "short_sides": list(options.short_sides),
            "ranges_before": [list(pair) for pair in start],
            "ranges_found": [list(pair) for pair in found.ranges],
            "tried": found.tried,
            "images_searched": len(halves[0]),
            "ap_searched_before": ap(tuple(start), 0),
            "ap_searched_found": ap(found.ranges, 0),
            "images_held_out": len(halves[1]),
            "ap_held_out_before": ap(tuple(start), 1),
            "ap_held_out_found": ap(found.ranges, 1),
        },
    )
