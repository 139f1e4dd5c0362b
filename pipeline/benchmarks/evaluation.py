"""Seconds of COCO's evaluation, with and without bootstrap draws, beside pycocotools and faster-coco-eval without any.

`python -m pipeline.benchmarks.evaluation --minutes 5` writes reports/benchmarks/cpu_evaluation.{json,md}. All begin
with the same records in memory, as `json.load` gives them, and end with COCO's twelve numbers; rounds take turns. Each
runs on one core, and its processor time is read, which other work on the machine changes less than the time of day.
"""

import argparse
import contextlib
import copy
import io
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from pipeline.benchmarks.cases import numbers
from pipeline.benchmarks.command import command_line, prepare, report_file, run_command, write_report
from pipeline.benchmarks.pages.evaluation import evaluation_page
from pipeline.benchmarks.timing.rounds import Call, interleave, ratios
from pipeline.evaluation.bootstrap import replicates_of
from pipeline.evaluation.coco import metrics_of
from pipeline.evaluation.contributions import contributions_of

SIZE = {"images": 5000, "objects": 36_000, "detections": 250_000, "categories": 80}  # as COCO's val2017
DRAWS = 200
LIMIT = 2.0  # times the evaluation without draws
REFERENCES = {  # modules and names of their index and their evaluator; what is not installed is left out
    "pycocotools": (("pycocotools.coco", "COCO"), ("pycocotools.cocoeval", "COCOeval")),
    "faster_coco_eval": (
        ("faster_coco_eval.core.coco", "COCO"),
        ("faster_coco_eval.core.faster_eval_api", "COCOeval_faster"),
    ),
}


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Time all evaluators in turn, and write the JSON and the page; return the JSON's content."""
    machine = prepare(options)
    truth, results = invented_results(**SIZE)
    evaluators: dict[str, Callable[[], list[float]]] = {
        "ours": lambda: evaluate(truth, results),
        "ours_draws": lambda: evaluate(truth, results, DRAWS),
        **{name: reference(name, truth, results) for name in REFERENCES if installed(name)},
    }
    found: dict[str, list[float]] = {}
    calls = {name: kept(found, name, call) for name, call in evaluators.items()}
    times = interleave(calls, 60 * options.minutes, least=options.rounds, clock=processor_clock)
    result = {
        "device": options.device,
        "machine": machine | {"numpy": np.__version__},
        "settings": SIZE | {"draws": DRAWS, "rounds": len(times["ours"])},
        "seconds": {name: numbers(values) for name, values in times.items()},
        "ratios": {name: numbers(ratios(times["ours_draws"], values)) for name, values in times.items()},
        "limit": LIMIT,
        "largest_difference": {
            name: max(abs(a - b) for a, b in zip(found["ours"], values, strict=True))
            for name, values in found.items()
            if name in REFERENCES
        },
        "contributions_mb": round(contributions_of(truth, results).nbytes / 1e6, 1),
    }
    return write_report(report_file(options, "evaluation"), result, evaluation_page)


def evaluate(truth: dict[str, Any], results: list[dict], draws: int = 0) -> list[float]:
    """Return COCO's twelve numbers, after as many draws of the images."""
    found = contributions_of(truth, results)
    if draws:
        replicates_of(found, draws)
    return [-1.0 if value is None else value for value in metrics_of(found).values()]


def kept(found: dict[str, list[float]], name: str, call: Callable[[], list[float]]) -> Call:
    """Return a call that keeps its last result by name."""

    def keeping() -> None:
        found[name] = call()

    return keeping


def processor_clock(call: Call, repeats: int) -> float:
    """Return the processor's seconds per call."""
    start = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - start) / repeats


def reference(name: str, truth: dict[str, Any], results: list[dict]) -> Callable[[], list[float]]:
    """Return a call of another evaluator on records of its own, because it writes into them."""
    index, evaluator = (getattr(import_module(module), what) for module, what in REFERENCES[name])
    truth, results = copy.deepcopy((truth, results))

    def call() -> list[float]:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = index()
            coco.dataset = truth
            coco.createIndex()
            engine = evaluator(coco, coco.loadRes(results), "bbox")
            engine.evaluate()
            engine.accumulate()
            engine.summarize()
        return [float(value) for value in engine.stats[:12]]

    return call


def installed(name: str) -> bool:
    """Return whether another evaluator can be imported."""
    try:
        import_module(name)
    except ImportError:
        return False
    return True


def invented_results(
    images: int, objects: int, detections: int, categories: int, seed: int = 0
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return COCO ground truth and results of 640x480 images with few categories each, some much more frequent.

    Two fifths of the detections lie near an object, most with its category and a higher score; the others anywhere.
    """
    random = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, categories + 1)
    own = random.choice(categories, (images, 3), p=frequency / frequency.sum())  # of each image

    def boxes(count: int) -> np.ndarray:
        sides = np.exp(random.uniform(np.log(8), np.log(320), (count, 1)) + random.normal(0, 0.3, (count, 2)))
        return np.concatenate([random.uniform(0, 1, (count, 2)) * (480 - sides).clip(1), sides], axis=1)

    image = random.integers(images, size=objects)
    category, box = own[image, random.integers(3, size=objects)], boxes(objects)
    crowd = random.random(objects) < 0.012
    near = random.random(detections) < 0.4
    of = random.integers(objects, size=detections)
    found_image = np.where(near, image[of], random.integers(images, size=detections))
    anything = own[found_image, random.integers(3, size=detections)]
    found_category = np.where(near & (random.random(detections) < 0.9), category[of], anything)
    moved = box[of] + random.normal(0, 0.1, (detections, 4)) * np.tile(box[of, 2:], 2)
    found_box = np.where(near[:, None], moved, boxes(detections))
    found_box[:, 2:] = found_box[:, 2:].clip(1)
    score = np.where(near, random.beta(4, 2, detections), random.beta(1, 4, detections))
    truth = {
        "images": [{"id": i, "width": 640, "height": 480} for i in range(images)],
        "categories": [{"id": k + 1, "name": str(k + 1)} for k in range(categories)],
        "annotations": [
            {"id": n + 1, "image_id": i, "category_id": k + 1, "bbox": b, "area": b[2] * b[3], "iscrowd": int(c)}
            for n, (i, k, b, c) in enumerate(
                zip(image.tolist(), category.tolist(), box.tolist(), crowd.tolist(), strict=True)
            )
        ],
    }
    columns = (values.tolist() for values in (found_image, found_category, found_box, score))
    return truth, [
        {"image_id": i, "category_id": k + 1, "bbox": b, "score": s} for i, k, b, s in zip(*columns, strict=True)
    ]


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    return command_line(__doc__, minutes=5.0, rounds=3)


if __name__ == "__main__":
    run_command(main, parser())
