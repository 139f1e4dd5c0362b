"""Images per second that one loading process prepares, and that training steps of Faster R-CNN R50-FPN consume.

`python -m pipeline.benchmarks.loading --device cpu --minutes 2` writes reports/benchmarks/cpu_loading.{json,md}; with
`--device cuda` they are gpu_loading. They say how many loading processes a training needs, without and with collages.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline import config
from pipeline.benchmarks.cases import numbers
from pipeline.benchmarks.command import command_line, prepare, report_file, run_command, write_report
from pipeline.benchmarks.pages.loading import loading_page
from pipeline.benchmarks.training_loops import ENDLESS, PARTS, Ours, batch_spec, write_images
from pipeline.data import transforms
from pipeline.data.detection_set import DetectionSet
from pipeline.training.feeding import build_feeder
from pipeline.training.precision import choose_precision

REGULAR, COLLAGE = "dst_frcnn_r50_fpn_1x", "dst_frcnn_r50_fpn_1x_dst_all_collage"
BATCHES = {"cpu": 1, "cuda": 16}
JPEGS = 16
WARM_UP = 2
MOST = 2000  # calls


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Time loading in one and in several processes, and training steps; write JSON and page, and return the JSON.

    Training and loading are timed one after the other, because together they would compete for a few cores.
    """
    machine = prepare(options)
    preset = config.load_preset(options.preset)
    batch = options.batch or BATCHES[options.device]
    precision = options.precision or choose_precision(preset, torch.device(options.device))
    seconds = 60 * options.minutes / 5
    with tempfile.TemporaryDirectory() as folder:
        split = write_images(Path(folder), JPEGS, preset.factor)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a loading process
        per_worker = {
            "regular": loading_seconds(split, REGULAR, options.preset, batch, 0, seconds),
            "collage": loading_seconds(split, COLLAGE, options.preset, batch, 0, seconds),
        }
        parts = part_seconds(split, options.preset, seconds)
        several = loading_seconds(split, REGULAR, options.preset, batch, options.workers, seconds)
        torch.set_num_threads(threads)
        loop = Ours(split, batch, 0, options.device, precision, options.preset)
        steps = step_seconds(loop, seconds)
    consumed = [batch / value for value in steps]
    median = numbers(consumed)["median"]
    loaded = {kind: numbers([batch / value for value in found]) for kind, found in per_worker.items()}
    ratios = {kind: round(found["median"] / median, 3) for kind, found in loaded.items()}
    result = {
        "device": options.device,
        "preset": options.preset,
        "machine": machine,
        "settings": {"batch": batch, "precision": precision, "workers": options.workers},
        "loaded_per_worker": loaded,
        "loaded_together": numbers([batch / value for value in several]),
        "parts_ms": parts,
        "consumed": numbers(consumed),
        "ratio_per_worker": ratios,
        "ratio_together": round(numbers([batch / value for value in several])["median"] / median, 3),
        "workers_needed": {kind: math.ceil(1 / ratio) for kind, ratio in ratios.items()},
    }
    return write_report(report_file(options, "loading"), result, loading_page)


def timed(call: Callable[[], Any], seconds: float, least: int = 5) -> list[float]:
    """Return the seconds of each call, after a warm-up, for about `seconds` and at least `least` calls."""
    for _ in range(WARM_UP):
        call()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < least or (time.perf_counter() < end and len(found) < MOST):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found


def loading_seconds(
    split: dict[str, Any], experiment: str, preset: str, batch: int, workers: int, seconds: float
) -> list[float]:
    """Return the seconds to decode, resize and flip each batch of an experiment, and to make its collages.

    With `workers`, they are the seconds between two batches of all these processes, after their queues were drained.
    """
    spec = batch_spec(config.resolve(experiment, preset), batch, workers)
    feeder = build_feeder(spec, DetectionSet(split), ENDLESS)
    number = iter(range(ENDLESS))
    for _ in range(4 * workers):  # batches that were prefetched before the start do not count
        feeder.batch(next(number))
    return timed(lambda: feeder.batch(next(number)), seconds, least=max(5, 4 * workers))


def part_seconds(split: dict[str, Any], preset: str, seconds: float) -> dict[str, float]:
    """Return the median ms to decode, to resize and to flip one image."""
    spec = config.resolve(REGULAR, preset)
    data = DetectionSet(split)
    rows = iter(range(ENDLESS))
    decoded = data.image(0)
    old = tuple(decoded.shape[-2:])
    sides = spec.recipe.short_side * spec.preset.factor, spec.recipe.long_side * spec.preset.factor
    new = transforms.scaled_size(*old, transforms.fitting_scale(*old, *sides))
    resized = transforms.resize(decoded, new)
    calls = {
        "decode": lambda: data.image(next(rows) % len(data)),
        "resize": lambda: transforms.resize(decoded, new),
        "flip": lambda: transforms.flip(resized, data.boxes[0]),
    }
    return {name: round(1000 * numbers(timed(call, seconds / 3))["median"], 3) for name, call in calls.items()}


def step_seconds(loop: Ours, seconds: float) -> list[float]:
    """Return the seconds of forward, backward and update of each training step, without loading."""
    loop.split = True
    found: list[float] = []

    def step() -> None:
        loop()
        found.append(sum(loop.seconds[part] for part in PARTS if part != "data"))

    timed(step, seconds)
    return found[WARM_UP:]


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    # Without --batch a step takes 1 image on a CPU and 16 on a GPU, without --precision what trainings choose.
    return command_line(__doc__, preset="full", minutes=2.0, batch=None, workers=2, precision=None)


if __name__ == "__main__":
    run_command(main, parser())
