"""The best valid ranges of a trained detector's image pyramid, searched on one half of the images for the other."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from tqdm import tqdm

from pipeline.data.detection_set import DetectionSet
from pipeline.errors import InputError
from pipeline.evaluation.coco import evaluate_detections
from pipeline.evaluation.protocol import scaled_area_ranges
from pipeline.evaluation.range_search import Range, Ranges, search_ranges
from pipeline.evaluation.scoring import evaluated_part
from pipeline.options import Test
from pipeline.prediction.detector import Detections, coco_results, merge, suppression_of
from pipeline.spec import Spec

OPEN: Range = (0.0, None)
MOST = 1000  # images of a half that are searched on


def searched_tests(
    spec: Spec, test: str, by_level: list[list[Detections]], data: DetectionSet, split: dict[str, Any]
) -> tuple[list[Test], dict[str, Any]]:
    """Return the test of every image with ranges that are best on other images, and what was found.

    Every other validation image is one half; each half is merged with the ranges that were searched on the other, so no
    image has a part in the choice of its own ranges.

    Args:
        spec: the detector.
        test: name of its test, whose ranges are where the search starts.
        by_level: detections of every image at each resolution.
        data: the images.
        split: the verified split that they are of.

    Raises:
        InputError: a network of proposals, whose recall has no best ranges.

    Source: "the best possible validity ranges at each resolution for each of these methods" (SNIP, section 7.3).
    Differs from the paper, which searched on minival and evaluated on test-dev, whose labels are not public.
    """
    if spec.experiment.detector == "d_rfcn_rpn":
        raise InputError(f"{spec.name} only proposes; take search_ranges out of its test {test!r}.")
    options, preset = spec.experiment.tests[test], spec.preset
    start = tuple(options.valid_ranges or (OPEN,) * len(options.short_sides))
    areas = scaled_area_ranges(preset.pixel_factor)
    halves = [list(range(half, len(data), 2)) for half in (0, 1)]

    def results(tests: Sequence[Test], rows: Sequence[int]) -> list[dict[str, Any]]:
        found = []
        for one, row in zip(tests, rows, strict=True):
            merged = merge([level[row] for level in by_level], one, preset, suppression_of(spec))
            found.extend(coco_results(data.entries[row]["id"], merged, data.size(row)))
        return found

    def ap(tests: Sequence[Test], rows: Sequence[int]) -> float | None:
        truth = evaluated_part({**split, "images": [data.entries[row] for row in rows]}, len(rows))
        return evaluate_detections(truth, results(tests, rows), area_ranges=areas)["ap"]

    def with_ranges(ranges: Ranges) -> Test:
        return msgspec.structs.replace(options, valid_ranges=ranges)

    found = []
    with tqdm(desc=f"{spec.run} ranges", file=sys.stderr, mininterval=2.0) as bar:

        def score(rows: Sequence[int], ranges: Ranges) -> float | None:
            bar.update()
            return ap([with_ranges(ranges)] * len(rows), rows)

        for half in halves:
            rows = half[:MOST]
            found.append(search_ranges(partial(score, rows), start, sweeps=preset.search_sweeps))
    tests = [with_ranges(found[1 - row % 2].ranges) for row in range(len(data))]
    everything = range(len(data))
    facts = {
        "experiment": spec.name,
        "test": test,
        "short_sides": list(options.short_sides),
        "start": [list(pair) for pair in start],
        "halves": [
            {
                "images": min(len(half), MOST),
                "tried": one.tried,
                "ranges": [list(pair) for pair in one.ranges],
                "ap_start": ap([with_ranges(start)] * len(half[:MOST]), half[:MOST]),
                "ap": one.score,
            }
            for half, one in zip(halves, found, strict=True)
        ],
        "ap_held_out_start": ap([with_ranges(start)] * len(data), everything),
        "ap_held_out": ap(tests, everything),
    }
    return tests, facts
