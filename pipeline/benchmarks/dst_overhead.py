"""What dynamic scale training costs: three trainings of a Faster R-CNN R50-FPN take steps in turn on one machine.

`python -m pipeline.benchmarks.dst_overhead --device cpu --minutes 3` writes reports/benchmarks/cpu_dst_overhead.json
and .md; `--preset full --device cuda` writes gpu_dst_overhead. A round is a block of steps of each training: without
DST, with DST, and with collages in every step, which bounds the cost of any share of collages.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline import config
from pipeline.benchmarks.cases import numbers
from pipeline.benchmarks.command import command_line, prepare, report_file, run_command, write_report
from pipeline.benchmarks.one_step import LEARNING_RATE
from pipeline.benchmarks.pages.dst_overhead import dst_overhead_page
from pipeline.benchmarks.timing.profiles import operator_shares
from pipeline.benchmarks.training_loops import Ours, write_images
from pipeline.data.collage import make_collage
from pipeline.training.precision import choose_precision

TRAININGS = {  # times of the others are divided by those of the first
    "baseline": "dst_frcnn_r50_fpn_1x",
    "dst": "dst_frcnn_r50_fpn_1x_dst",
    "all_collage": "dst_frcnn_r50_fpn_1x_dst_all_collage",
}
LIMIT = 1.02  # times the baseline's median step
COLLAGE_LIMIT_MS = 5.0  # a collage of four images of 800x1333 on one core
DEFAULTS = {  # by preset; other presets take the papers' size, `full`
    "mini": {"batch": 4, "block": 10, "images": 64, "listed": 64},  # decoded images stay in memory, like ScaleWorld's
    "full": {"batch": 2, "block": 4, "images": 16, "listed": 1200},  # they do not, like COCO's
}
WARM_UP = 3  # steps of each training before the first round
DRAWS, LEVEL = 2000, 0.95
OPERATORS, ALL_OPERATORS = 8, 1000
PROFILED = 6  # steps
PARTS = {"step": ("forward", "backward", "update"), "total": ("data", "forward", "backward", "update")}


class Step(NamedTuple):
    """One timed training step."""

    round: int
    training: str
    collage: bool
    data: float  # seconds in which the training waited for its batch
    step: float  # seconds of forward, backward and update

    @property
    def total(self) -> float:
        return self.data + self.step


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Run the trainings in turn, and write the JSON and the page; return the JSON's content."""
    machine = prepare(options)
    preset = config.load_preset(options.preset)
    defaults = DEFAULTS.get(options.preset, DEFAULTS["full"])
    batch, block = options.batch or defaults["batch"], options.block or defaults["block"]
    precision = options.precision or choose_precision(preset, torch.device(options.device))
    # With the preset's learning rate, networks learn, and their losses feed back as in its trainings.
    lr = preset.training.lr or LEARNING_RATE
    with tempfile.TemporaryDirectory() as folder:
        split = write_images(Path(folder), defaults["images"], preset.factor, defaults["listed"])
        how = (split, batch, options.workers, options.device, precision, options.preset)
        loops = {name: Ours(*how, experiment=experiment, lr=lr) for name, experiment in TRAININGS.items()}
        steps = interleave(loops, block, 60 * options.minutes, options.rounds)
        result = {
            "device": options.device,
            "preset": options.preset,
            "machine": machine,
            "settings": {
                "batch": batch,
                "block": block,
                "rounds": steps[-1].round + 1,
                "workers": options.workers,
                "precision": precision,
                "learning_rate": lr,
                "images_stay_decoded": defaults["listed"] == defaults["images"],
                "level": LEVEL,
            },
            "limit": LIMIT,
            "trainings": {name: describe_training(steps, name) for name in TRAININGS},
            "ratios": {name: ratios(steps, name) for name in list(TRAININGS)[1:]},
            "added": added_operators(loops["baseline"], loops["all_collage"], options.device),
        }
    result["collage"] = collage_times() | {"limit": COLLAGE_LIMIT_MS}
    return write_report(report_file(options, "dst_overhead"), result, dst_overhead_page)


def interleave(
    loops: Mapping[str, Ours], block: int, seconds: float, least: int, clock: Callable[[], float] = time.perf_counter
) -> list[Step]:
    """Return the steps of at least `least` rounds; each round has a block of every training, in random order."""
    for loop in loops.values():
        loop.split = True  # wait for a GPU between parts, in all trainings
        for _ in range(WARM_UP):
            loop()
    order, shuffle = list(loops), random.Random(0).shuffle
    steps: list[Step] = []
    start = clock()
    number = 0
    while number < least or (clock() - start) * (number + 1) / number <= seconds:
        shuffle(order)
        for name in order:
            for _ in range(block):
                loops[name]()
                found = loops[name].seconds
                collage = loops[name].collage
                steps.append(Step(number, name, collage, found["data"], sum(found[part] for part in PARTS["step"])))
        number += 1
    return steps


def describe_training(steps: Sequence[Step], name: str) -> dict[str, Any]:
    """Return a training's share of collage steps, and the median and quartiles of ms per step, by kind of step."""
    own = [step for step in steps if step.training == name]
    kinds = {"all": own, "regular": [s for s in own if not s.collage], "collage": [s for s in own if s.collage]}
    return {
        "steps": len(own),
        "collage_share": round(sum(step.collage for step in own) / len(own), 4),
        "ms": {
            kind: {part: numbers([1000 * getattr(step, part) for step in chosen]) for part in ("step", "data", "total")}
            for kind, chosen in kinds.items()
            if chosen
        },
    }


def ratios(steps: Sequence[Step], name: str, draws: int = DRAWS) -> dict[str, dict[str, dict[str, float]]]:
    """Return the ratios of a training's median and mean step to the baseline's, without and with loading.

    The interval is a bootstrap over rounds. A round's blocks are drawn together, so that a slow moment of the machine
    affects both trainings, and neighbouring steps, which are not independent, stay together.
    """
    rounds = max(step.round for step in steps) + 1
    base = next(iter(TRAININGS))
    random_rounds = np.random.default_rng(0).integers(rounds, size=(draws, rounds))
    result: dict[str, dict[str, dict[str, float]]] = {}
    for part in ("step", "total"):
        by_round = {
            who: [
                np.array([getattr(s, part) for s in steps if s.training == who and s.round == r]) for r in range(rounds)
            ]
            for who in (name, base)
        }
        result[part] = {}
        for kind, average in (("median", np.median), ("mean", np.mean)):

            def ratio(chosen: Sequence[int], average: Callable[..., Any] = average, found: Any = by_round) -> float:
                ours, theirs = (average(np.concatenate([found[who][r] for r in chosen])) for who in (name, base))
                return float(ours / theirs)

            drawn = [ratio(row) for row in random_rounds]
            low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            result[part][kind] = {
                "ratio": round(ratio(range(rounds)), 4),
                "low": round(float(low), 4),
                "high": round(float(high), 4),
            }
    return result


def added_operators(baseline: Ours, collages: Ours, device: str) -> list[dict[str, Any]]:
    """Return the operators that collages make most expensive, in ms per step, with loading in this process."""
    plain, other = (
        {one["name"]: one["ms"] for one in operator_shares(loop, device, ALL_OPERATORS, PROFILED)["operators"]}
        for loop in (baseline, collages)
    )
    more = {name: ms - plain.get(name, 0.0) for name, ms in other.items()}
    names = sorted((name for name in more if more[name] > 0), key=lambda name: -more[name])[:OPERATORS]
    return [
        {"name": name, "without": plain.get(name, 0.0), "with": other[name], "added": round(more[name], 4)}
        for name in names
    ]


def collage_times(height: int = 800, width: int = 1333, objects: int = 7, repeats: int = 40) -> dict[str, Any]:
    """Return the ms for a collage of four images [3, height, width] with `objects` objects each, on one core."""
    random_numbers = torch.Generator().manual_seed(0)
    # a pixel's values side by side, as they are loaded
    images = [torch.rand(height, width, 3, generator=random_numbers).permute(2, 0, 1) for _ in range(4)]
    targets: list[dict[str, Tensor]] = []
    for _ in images:
        corners = torch.rand(objects, 2, generator=random_numbers) * torch.tensor([width - 100.0, height - 100.0])
        boxes = torch.cat([corners, corners + 50], dim=1)
        targets.append({"boxes": boxes, "labels": torch.ones(objects, dtype=torch.int64)})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = []
        for number in range(repeats + WARM_UP):
            start = time.perf_counter()
            make_collage(images, targets)
            if number >= WARM_UP:
                found.append(1000 * (time.perf_counter() - start))
    finally:
        torch.set_num_threads(threads)
    return {"images": [height, width], "repeats": repeats, "ms": numbers(found), "fastest_ms": round(min(found), 4)}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    # Without --batch a step takes 4 images in mini and 2 elsewhere, without --precision what trainings choose.
    found = command_line(
        __doc__, preset="mini", minutes=3.0, rounds=4, batch=None, workers=0, precision=None, threads=0
    )
    found.add_argument("--block", type=int, help="steps of one training in a round (default: 10 in mini, 4 elsewhere)")
    return found


if __name__ == "__main__":
    run_command(main, parser())
