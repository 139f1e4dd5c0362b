"""How much work each stage is, so that a build can say what is left: images through a network, weighed roughly.

An image of a training's step counts 1 at the recipe's size, one of a test a third; blocks, steps, batch and resolutions
multiply. `pipeline.benchmarks.budget` times the networks too, which takes PyTorch and minutes; this takes neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean

from pipeline import config, paths
from pipeline.errors import InputError
from pipeline.files import found_json
from pipeline.graph.declared import Stage
from pipeline.spec import Spec, epoch_steps
from pipeline.training.epochs import Units, training_length

TEST = 1 / 3  # of the work of a training's image
COUNTED = ("pretrain", "train", "predict", "search_ranges", "propose", "learn_scales")
SIDE, ASPECT = 800, 4 / 3  # of a detector's input, of a photograph
UNKNOWN = {"train": 1000, "val": 300}  # images where no data were verified yet


def work_of(stages: Iterable[Stage], preset: str) -> dict[str, float]:
    """Return the work of some stages by their address; 0 for what runs no network, or cannot be worked out."""
    splits = (found_json(paths.ROOT / paths.manifest(preset)) or {}).get("splits", {})
    images = {name: splits.get(name, {}).get("images", count) for name, count in UNKNOWN.items()}
    return {stage.address: one(stage, preset, images) for stage in stages}


def one(stage: Stage, preset: str, images: Mapping[str, int]) -> float:
    kind, _, key = stage.name.partition("@")
    if kind not in COUNTED:
        return 0.0
    name, test = paths.split_evaluation(key)
    try:
        spec = config.resolve(name, preset)
        return spec.blocks * each_block(kind, spec, test, images)
    except InputError:
        return 0.0


def each_block(kind: str, spec: Spec, test: str, images: Mapping[str, int]) -> float:
    """Return the work of one block of a stage."""
    training = spec.preset.training
    if kind == "pretrain":
        if spec.published:
            return 0.0
        steps = training.pretrain_steps or epoch_steps(spec, images["train"])
        size = (training.pretrain_size / (spec.preset.factor * SIDE)) ** 2 / ASPECT
        return steps * (training.pretrain_batch or spec.batch) * size
    if kind == "train":
        levels = tuple(1.0 for _ in spec.experiment.pyramid) or (1.0,)
        steps = training_length(spec, images["train"], Units(levels)).steps
        sides = [level.short_side for level in spec.experiment.pyramid] or [spec.recipe.short_side]
        return steps * spec.batch * fmean((side / spec.recipe.short_side) ** 2 for side in sides)
    if kind == "learn_scales":
        return TEST * (min(training.scale_images, images["train"]) + images["val"])
    tests = spec.experiment.tests
    chosen = tests.get(test, next(iter(tests.values()))) if tests else None
    looks = sum((side / spec.recipe.short_side) ** 2 for side in chosen.short_sides) if chosen else 1.0
    number = images["val"] + (images["train"] if kind == "propose" else 0)
    return TEST * number * looks * (2 if kind == "search_ranges" else 1)
