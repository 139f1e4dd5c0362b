"""Estimate the minutes that a target of the graph will take on this machine.

`python -m pipeline.benchmarks.budget quickstart --preset NAME --cores 2` prints them. Every distinct network trains two
steps and infers once on invented images of the preset's size; the times are multiplied by the work of the graph's
stages. Loading, collages and the number of objects are not included, so an estimate may be wrong by about a half.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch

from pipeline import paths
from pipeline.analysis.costs import area_of, training_area
from pipeline.analysis.pyramid_inputs import expected_units
from pipeline.benchmarks.one_step import LEARNING_RATE, infer_once, settled_network, synchronise, train_once
from pipeline.cli import run
from pipeline.config import load_preset, resolve
from pipeline.data.manifest import load_split
from pipeline.files import write_json
from pipeline.graph import declared
from pipeline.graph.build import stale_stages
from pipeline.options import Test
from pipeline.spec import Spec, epoch_steps
from pipeline.training.classification.pretraining import is_trained
from pipeline.training.epochs import training_length
from pipeline.training.loop import build_optimizer
from pipeline.training.precision import choose_precision, pick_device, set_threads

SHOWN = ("pretrain", "train", "predict", "search_ranges", "propose")


class Work(NamedTuple):
    """The work of one stage: images trained on and inferred, in units of the recipe's input size."""

    kind: str
    experiment: str
    trained: float = 0.0
    inferred: float = 0.0
    address: str = ""


def works(target: str, preset: str, images: dict[str, int], left: bool = False) -> list[Work]:
    """Return the work of every stage of the graph that a target needs; with `left`, of those that are out of date."""
    known = declared.stages()
    needed = declared.ancestors(declared.one(target, known).address, known)
    if left:
        needed &= declared.descendants(stale_stages([declared.one(target, known).address], known), known)
    found = []
    for address in sorted(needed):
        kind, _, key = address.rpartition(":")[2].partition("@")
        found.append(work_of(kind, key, preset, images)._replace(address=address))
    return found


def work_of(kind: str, key: str, preset: str, images: dict[str, int]) -> Work:
    """Return the work of one stage."""
    name, test = paths.split_evaluation(key)
    if kind in ("train", "pretrain"):
        spec = resolve(name, preset)
        if kind == "pretrain":
            batch = spec.preset.training.pretrain_batch or spec.batch
            steps = spec.preset.training.pretrain_steps or epoch_steps(spec, images["train"])
            return Work(kind, name, float(batch * steps * spec.blocks) if is_trained(spec) else 0.0)
        steps = training_length(spec, images["train"], expected_units(spec)).steps
        return Work(kind, name, steps * spec.batch * pyramid_area(spec) * spec.blocks)
    if kind in ("predict", "search_ranges", "propose"):
        spec = resolve(name, preset)
        tests = spec.experiment.tests
        share = test_area(spec, tests.get(test, next(iter(tests.values()))))
        count = images["val"] + (images["train"] if kind == "propose" else 0)
        return Work(kind, name, inferred=count * share * spec.blocks)
    if kind == "learn_scales":
        spec = resolve(name, preset)
        return Work(kind, name, inferred=2.0 * min(spec.preset.training.scale_images, images["train"]) * spec.blocks)
    return Work(kind, "")


def pyramid_area(spec: Spec) -> float:
    """Return the mean area of an image pyramid's inputs divided by that of the recipe's, 1 without a pyramid."""
    if not spec.experiment.pyramid:
        return 1.0
    return training_area(spec) / area_of(spec.preset, spec.recipe.short_side, spec.recipe.long_side)


def test_area(spec: Spec, test: Test) -> float:
    """Return the area of all inputs that a test makes of one image, divided by that of the recipe's input."""
    own = spec.recipe.short_side * spec.recipe.long_side
    area = sum(short * long for short, long in zip(test.short_sides, test.long_sides, strict=True))
    return area / own * (2 if test.flip else 1)


def network_key(spec: Spec) -> tuple[Any, ...]:
    """Return what determines the time of a step, without collages and learning rates."""
    one, method = spec.experiment, spec.experiment.method
    layers = (method.global_scale, method.decomposed, method.psconv, method.deformable, method.fusion)
    return one.detector, one.backbone, one.neck, one.region, one.rpn, layers, spec.norm, spec.frozen_stages, spec.batch


def seconds_an_image(spec: Spec, device: torch.device, precision: str) -> tuple[float, float]:
    """Return the seconds per image of a training step and of an inference."""
    model, images, targets = settled_network(spec, device.type)
    count = spec.batch if targets else spec.preset.training.pretrain_batch or spec.batch
    batch, labels = (images * count)[:count], targets * count
    optimizer = build_optimizer(spec, model, LEARNING_RATE)
    training = timed(lambda: train_once(model, optimizer, batch, labels, precision), device)
    inference = timed(lambda: infer_once(model, images, targets, spec, precision), device)
    return training / count, inference / len(images)


def timed(call: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds of a second call, because the first one chooses algorithms."""
    call()
    synchronise(device.type)
    start = time.perf_counter()
    call()
    synchronise(device.type)
    return time.perf_counter() - start


def start_seconds() -> float:
    """Return the seconds that a stage needs to start: Python with torch, once for DVC and once for the stage."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch, torchvision"], check=True)
    return 2 * (time.perf_counter() - start)


def budget(
    found: Iterable[Work],
    preset: str,
    measure: Callable[[Spec], tuple[float, float]],
    start: float,
) -> list[float]:
    """Return the seconds of every stage; every distinct network is timed once."""
    measured: dict[tuple[Any, ...], tuple[float, float]] = {}
    result = []
    for work in found:
        seconds = start
        if work.trained or work.inferred:
            spec = resolve(work.experiment, preset)
            key = network_key(spec)
            if key not in measured:
                measured[key] = measure(spec)
            training, inference = measured[key]
            seconds += work.trained * training + work.inferred * inference
        result.append(seconds)
    return result


def by_kind(found: Iterable[Work], seconds: Iterable[float]) -> dict[str, tuple[int, float]]:
    """Return the number of stages of every kind, and their total seconds."""
    result: dict[str, tuple[int, float]] = {}
    for work, each in zip(found, seconds, strict=True):
        count, total = result.get(work.kind, (0, 0.0))
        result[work.kind] = (count + 1, total + each)
    return result


def busy() -> str:
    """Return a sentence where other processes take this machine's processors while networks are timed, else nothing."""
    wanted, processors = os.getloadavg()[0], os.cpu_count() or 1
    if wanted <= processors:
        return ""
    return (
        f"This machine is busy beside: {wanted:.1f} processes want its {processors} processors, so times measured now "
        "are longer than alone."
    )


def text_of(found: dict[str, tuple[int, float]], side_by_side: int, target: str) -> str:
    """Return the budget as text: the kinds of stages, then the wall time."""
    long = {kind: entry for kind, entry in found.items() if kind in SHOWN}
    rest = [entry for kind, entry in found.items() if kind not in SHOWN]
    lines = [f"  {kind:18} {count:4} stages {seconds / 60:8.1f} min" for kind, (count, seconds) in sorted(long.items())]
    lines.append(f"  {'everything else':18} {sum(c for c, _ in rest):4} stages {sum(s for _, s in rest) / 60:8.1f} min")
    total = sum(seconds for _, seconds in found.values()) / 60
    lines.append(
        f"Budget of {target}: {total:.0f} minutes of work, about {total / side_by_side:.0f} minutes with "
        f"{side_by_side} side by side (right to within about a half)."
    )
    return "\n".join(lines)


def main(options: argparse.Namespace) -> None:
    manifest = paths.manifest(options.preset)
    images = {split: len(load_split(manifest, split)["images"]) for split in ("train", "val")}
    found = works(options.name, options.preset, images, options.left)
    preset = load_preset(options.preset)
    if said := busy():
        print(f"  {said}", flush=True)
    set_threads(preset)
    device = pick_device()
    precision = choose_precision(preset, device)

    def measure(spec: Spec) -> tuple[float, float]:
        seconds = seconds_an_image(spec, device, precision)
        print(f"  timed {spec.name}: {1000 * seconds[0]:.0f} ms to train on an image", flush=True)
        return seconds

    # A GPU, or all threads together, serve one training at a time.
    side_by_side = options.cores if device.type == "cpu" and preset.threads == 1 else 1
    seconds = budget(found, options.preset, measure, start_seconds())
    print(text_of(by_kind(found, seconds), side_by_side, options.name), flush=True)
    if options.json:
        each = {work.address: round(one, 1) for work, one in zip(found, seconds, strict=True)}
        write_json(options.json, {"side_by_side": side_by_side, "seconds": each})


def extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cores", type=int, default=1, help="stages side by side (default: 1)")
    parser.add_argument("--left", action="store_true", help="only stages out of date, under the preset of params.yaml")
    parser.add_argument("--json", help="file for the seconds of every stage")


if __name__ == "__main__":
    run(main, __doc__, name="target", extend=extend)
