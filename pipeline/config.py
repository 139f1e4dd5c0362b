"""Resolve an experiment and a preset into one frozen, validated specification.

An experiment file says what is trained, a recipe (`workflow/schedules`) how the paper trains it, a preset how large
everything is. An unknown key anywhere is an error that names the nearest known one.
"""

from __future__ import annotations

import hashlib
import types
import typing
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from pipeline import paths
from pipeline.errors import InputError, nearest
from pipeline.files import read_yaml
from pipeline.options import Experiment, Options, Recipe
from pipeline.preset import Data, Preset


class Rate(NamedTuple):
    """Base learning rate of a training, and how it came about."""

    lr: float
    recipe_lr: float
    batch: int  # images of one optimiser step, over all processes and accumulated batches
    recipe_batch: int
    rule: Literal["recipe", "linear", "preset"]

    def facts(self) -> dict[str, Any]:
        """Return what the summary of a training says of its rate."""
        return {
            "lr": self.lr,
            "recipe_lr": self.recipe_lr,
            "batch": self.batch,
            "recipe_batch": self.recipe_batch,
            "lr_rule": self.rule,
        }


def base_rate(recipe: Recipe, batch: int, preset_lr: float | None = None) -> Rate:
    """Return the rate of a batch: the preset's, or the recipe's in proportion to the batch (the linear rule)."""
    if preset_lr:
        return Rate(preset_lr, recipe.lr, batch, recipe.batch, "preset")
    rule = "recipe" if batch == recipe.batch else "linear"
    return Rate(recipe.lr * batch / recipe.batch, recipe.lr, batch, recipe.batch, rule)


class Spec(Options):
    """A resolved experiment: everything that decides a training's result, and nothing else."""

    name: str
    paper: str
    experiment: Experiment
    recipe: Recipe
    preset: Preset

    @property
    def steps(self) -> int:
        """Optimiser steps of this training; papers that count epochs are resolved by the data's size at run time.

        Another batch than the recipe's sees the recipe's number of images, as the linear rule of its rate assumes.
        """
        training, recipe, length = self.preset.training, self.recipe, self.experiment.length
        if training.steps is not None:
            return max(1, round(training.steps * length * coco_epochs(recipe) / 12))
        if recipe.iterations is not None:
            return round(recipe.iterations * length * recipe.batch / self.effective_batch)
        raise InputError(
            f"{self.name} counts epochs, and preset {self.preset.name} names no steps; use `epoch_steps(spec, images)`."
        )

    @property
    def batch(self) -> int:
        """Images that are forwarded together, over all processes."""
        return self.preset.training.batch or self.recipe.batch

    @property
    def effective_batch(self) -> int:
        """Images of one optimiser step."""
        return self.batch * self.preset.training.accumulate

    @property
    def rate(self) -> Rate:
        """The learning rate and how it came about."""
        return base_rate(self.recipe, self.effective_batch, self.preset.training.lr)

    @property
    def lr(self) -> float:
        """The learning rate: the preset's, or the recipe's scaled linearly with the effective batch."""
        return self.rate.lr

    @property
    def data(self) -> Data:
        """The preset's data set that this experiment sees."""
        return self.preset.data_of(self.experiment.dataset)

    @property
    def manifest(self) -> Path:
        """The verified form of `data`."""
        return paths.manifest(self.preset.name, self.experiment.dataset)

    @property
    def norm(self) -> str:
        return self.preset.training.norm or self.recipe.norm

    @property
    def frozen_stages(self) -> int:
        """Stages that stay as initialised, the stem included; -1 freezes nothing."""
        frozen = self.preset.training.frozen_stages
        return self.recipe.frozen_stages if frozen is None else frozen

    @property
    def seed(self) -> int:
        """A seed of its own for every experiment and preset seed, so that equal baselines are independent runs."""
        digest = hashlib.sha256(f"{self.name}/{self.preset.seed}".encode()).digest()
        return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF

    @property
    def digest(self) -> str:
        """Hash of all resolved parameters that a training depends on: the key of its checkpoints."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


def coco_epochs(recipe: Recipe) -> float:
    """Return the length of a recipe's 1x in epochs, of COCO's 118,287 images where it names none; 12 are `steps`."""
    return recipe.epochs if recipe.epochs is not None else recipe.iterations * recipe.batch / 118_287


def epoch_steps(spec: Spec, images: int) -> int:
    """Return the optimiser steps of a training on `images` training images."""
    if spec.preset.training.steps is not None or spec.recipe.iterations is not None:
        return spec.steps
    return max(1, round(spec.recipe.epochs * spec.experiment.length * images / spec.effective_batch))


def resolve(experiment: str, preset: str) -> Spec:
    """Return the specification of an experiment under a preset, both by name.

    Raises:
        InputError: an unknown experiment, preset, recipe or key; the nearest known name is in the sentence.
    """
    path = paths.ROOT / paths.experiment_file(experiment)
    if not path.is_file():
        known = [*experiments(), *combinations(), *(p.stem for p in (paths.ROOT / "workflow/inits").glob("*.yaml"))]
        raise InputError(f"Unknown experiment {experiment!r}{nearest(experiment, known)} (workflow/papers lists all).")
    loaded = load(path, Experiment)
    recipe_path = paths.ROOT / paths.recipe_file(loaded.recipe)
    if not recipe_path.is_file():
        known = [p.stem for p in recipe_path.parent.glob("*.yaml")]
        raise InputError(f"{relative(path)} names the unknown recipe {loaded.recipe!r}{nearest(loaded.recipe, known)}.")
    return Spec(experiment, paths.paper_of(experiment), loaded, load(recipe_path, Recipe), load_preset(preset))


def load_preset(name: str) -> Preset:
    """Return a preset by name. Raises InputError where it is unknown or inconsistent."""
    path = paths.ROOT / paths.preset_file(name)
    if not path.is_file():
        known = [p.stem for p in path.parent.glob("*.yaml")]
        raise InputError(f"Unknown preset {name!r}{nearest(name, known)}; workflow/presets holds {sorted(known)}.")
    preset = load(path, Preset)
    if preset.name != name:
        raise InputError(f"{relative(path)} calls itself {preset.name!r}; its `name` must be the file's name.")
    if not 0 < preset.factor <= 4:
        raise InputError(f"{relative(path)}: factor must lie in (0, 4], found {preset.factor}; 1 is COCO's size.")
    training = preset.training
    if training.accumulate < 1:
        raise InputError(f"{relative(path)}: accumulate must be at least 1, found {training.accumulate}; 1 is none.")
    if training.ema is not None and not 0 < training.ema < 1:
        raise InputError(f"{relative(path)}: ema must lie in (0, 1), found {training.ema}; leave it out for none.")
    return preset


def active_preset() -> str:
    """Return the preset's name in params.yaml."""
    params = read_yaml(paths.PARAMS)
    if not isinstance(params, dict) or not isinstance(params.get("preset"), str):
        raise InputError(f"{paths.PARAMS} must hold `preset: NAME`, for example `preset: mini`.")
    unknown = sorted(set(params) - {"preset"})
    if unknown:
        raise InputError(f"{paths.PARAMS} holds the unknown key {unknown[0]!r}{nearest(unknown[0], ['preset'])}.")
    return params["preset"]


def experiments(paper: str | None = None) -> list[str]:
    """Return the names of all experiments, or of one paper's, sorted."""
    folder = paths.ROOT / "workflow/papers"
    return sorted(p.stem for p in folder.glob(f"{paper or '*'}/experiments/*.yaml"))


def combinations() -> list[str]:
    """Return the names of all experiments that join methods of several papers, sorted."""
    return sorted(p.stem for p in (paths.ROOT / "workflow/combinations/experiments").glob("*.yaml"))


def load(path: Path, kind: type) -> Any:
    """Read a YAML file as `kind`. Raises InputError naming file, key and the nearest known key."""
    raw = read_yaml(path)
    check_keys(raw, kind, relative(path))
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{relative(path)}: {error}; correct this value.") from error


def check_keys(value: Any, kind: Any, where: str) -> None:
    """Raise InputError for the first key that `kind` does not have, naming the nearest that it has."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        for part in typing.get_args(kind):
            check_keys(value, part, where)
        return
    if typing.get_origin(kind) in (dict, tuple) and typing.get_args(kind):
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        parts = [p for p in typing.get_args(kind) if p is not Ellipsis]
        for key, item in items:
            check_keys(item, parts[-1], f"{where}: {key}")
        return
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return
    if not isinstance(value, dict):
        if value is not None:
            raise InputError(f"{where} must be a mapping of {list(kind.__struct_fields__)}, found {value!r}.")
        return
    hints = typing.get_type_hints(kind)
    for key, item in value.items():
        if key not in hints:
            raise InputError(f"{where}: unknown key {key!r}{nearest(str(key), hints)}; known are {sorted(hints)}.")
        check_keys(item, hints[key], f"{where}: {key}")


def relative(path: Path) -> str:
    """Return a path below the project's root as text, for messages."""
    return str(path.relative_to(paths.ROOT)) if path.is_relative_to(paths.ROOT) else str(path)
