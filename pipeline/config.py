"""Resolve an experiment and a preset into one frozen, validated specification.

An experiment file says what is trained, a recipe (`workflow/schedules`) how the paper trains it, a preset how large
everything is. An unknown key anywhere is an error that names the nearest known one.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline import parts, paths
from pipeline.errors import InputError, nearest
from pipeline.files import read_yaml
from pipeline.options import Experiment, Recipe
from pipeline.preset import Preset

if TYPE_CHECKING:
    from pipeline.spec import Spec


def resolve(experiment: str, preset: str) -> Spec:
    """Return the specification of an experiment under a preset, both by name.

    Raises:
        InputError: an unknown experiment, preset, recipe, optimiser or key; the sentence names the nearest known one.
    """
    return specification(experiment, preset)


def load_recipe(path: Path) -> Recipe:
    """Return the recipe in a file. Raises InputError where it is inconsistent."""
    return load(path, Recipe)


def specification(experiment: str, preset: str | Preset, recipe_of: Callable[[Path], Recipe] = load_recipe) -> Spec:
    """Return the specification of an experiment under a preset, which may be loaded already. Raises as `resolve`."""
    from pipeline.spec import Spec  # here: stages that resolve no experiment do not depend on what follows from one

    path = paths.ROOT / paths.experiment_file(experiment)
    if not path.is_file():
        known = [*experiments(), *combinations(), *(p.stem for p in (paths.ROOT / "workflow/inits").glob("*.yaml"))]
        raise InputError(f"Unknown experiment {experiment!r}{nearest(experiment, known)} (workflow/papers lists all).")
    loaded = load(path, Experiment)
    recipe_path = paths.ROOT / paths.recipe_file(loaded.recipe)
    if not recipe_path.is_file():
        known = [p.stem for p in recipe_path.parent.glob("*.yaml")]
        raise InputError(f"{relative(path)} names the unknown recipe {loaded.recipe!r}{nearest(loaded.recipe, known)}.")
    recipe, preset = recipe_of(recipe_path), load_preset(preset) if isinstance(preset, str) else preset
    blocks = block_count(experiment, loaded, preset)
    spec = Spec(experiment, paths.paper_of(experiment), loaded, recipe, preset.of_recipe(loaded.recipe), blocks)
    try:
        parts.optimizer(spec.optimizer)
    except InputError as error:
        raise InputError(f"{experiment} under preset {preset.name}: {error}") from error
    return spec


def block_count(name: str, experiment: Experiment, preset: Preset) -> int:
    """Return how many blocks an experiment has: the preset's, or its paper's where that prints a mean of several."""
    if experiment.seeds > 1:
        return min(experiment.seeds, preset.training.pretrain_seeds or experiment.seeds)
    if preset.headline_blocks is None:
        return preset.blocks
    from pipeline.published.headline import rests_on  # here: the other presets read no table to resolve an experiment

    return preset.neck_blocks.get(experiment.neck, preset.headline_blocks) if name in rests_on() else preset.blocks


def load_preset(name: str) -> Preset:
    """Return a preset by name. Raises InputError where it is unknown or inconsistent."""
    path = paths.ROOT / paths.preset_file(name)
    if not path.is_file():
        known = [p.stem for p in path.parent.glob("*.yaml")]
        raise InputError(f"Unknown preset {name!r}{nearest(name, known)}; workflow/presets holds {sorted(known)}.")
    preset = load(path, Preset)
    if preset.name != name:
        raise InputError(f"{relative(path)} calls itself {preset.name!r}; its `name` must be the file's name.")
    recipes = sorted(p.stem for p in (paths.ROOT / paths.recipe_file("any")).parent.glob("*.yaml"))
    for recipe in preset.training.recipe_steps:
        if recipe not in recipes:
            hint = nearest(recipe, recipes)
            raise InputError(f"{relative(path)}: recipe_steps names the unknown recipe {recipe!r}{hint}.")
    return preset


def active_preset(root: Path = Path()) -> str:
    """Return the preset's name in params.yaml, by default that of the current folder."""
    params = read_yaml(root / paths.PARAMS)
    if not isinstance(params, dict) or not isinstance(params.get("preset"), str):
        raise InputError(f"{paths.PARAMS} must hold `preset: NAME`, for example `preset: mini`.")
    known = ("preset", "machine")
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise InputError(f"{paths.PARAMS} holds the unknown key {unknown[0]!r}{nearest(unknown[0], known)}.")
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
    return converted(read_yaml(path), kind, relative(path))


def converted(raw: Any, kind: type, where: str) -> Any:
    """Return plain values as `kind`. Raises InputError naming place, key and the nearest known key."""
    check_keys(raw, kind, where)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {error}{found_at(raw, str(error))}; correct this value.") from error


def found_at(raw: Any, message: str) -> str:
    """Return `, found 0` for the place that a message of msgspec ends with, nothing where it names none exactly."""
    place = message.rpartition("`$")[2].rstrip("`")
    if "`$" not in message or "[...]" in place:
        return ""
    for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", place):
        raw = raw[key] if key else raw[int(index)]
    return f", found {raw!r}"


def check_keys(value: Any, kind: Any, where: str) -> None:
    """Raise InputError for the first key that `kind` does not have, naming the nearest that it has."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        if isinstance(value, str) and str in typing.get_args(kind):
            return
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
    hints = hints_of(kind)
    for key, item in value.items():
        if key not in hints:
            raise InputError(f"{where}: unknown key {key!r}{nearest(str(key), hints)}; known are {sorted(hints)}.")
        check_keys(item, hints[key], f"{where}: {key}")


@cache
def hints_of(kind: type) -> dict[str, Any]:
    """Return the types of a class's options, which are written as text."""
    return typing.get_type_hints(kind)


def relative(path: Path) -> str:
    """Return a path below the project's root as text, for messages."""
    return str(path.relative_to(paths.ROOT)) if path.is_relative_to(paths.ROOT) else str(path)
