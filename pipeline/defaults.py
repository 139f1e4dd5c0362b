"""The defaults that options had when they were first written: the values that a digest leaves out.

A new option with a default therefore changes no digest, and a default that is changed later changes those of all that
leave the option out. `workflow/schemas/defaults.yaml` holds them; new options are added by `python -m pipeline.graph
write`, and an entry never changes.
"""

from __future__ import annotations

import typing
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pipeline import paths
from pipeline.files import read_yaml, write_text
from pipeline.options import Difference, Experiment, Notes, Recipe
from pipeline.preset import Preset

HEAD = (
    "# The default of every option when it was first written: digests leave these values out (pipeline/defaults.py).\n"
    "# Written by `python -m pipeline.graph write`, which adds new options; an entry never changes.\n"
)
Defaults = dict[str, dict[str, Any]]  # of the options' classes by name, of their fields by name


@cache
def recorded(root: Path = paths.ROOT) -> Defaults:
    """Return the recorded defaults, and today's of options that are not recorded yet."""
    path = root / paths.DEFAULTS
    known = read_yaml(path) if path.is_file() else {}
    return {name: fields | known.get(name, {}) for name, fields in current().items()}


def current() -> Defaults:
    """Return today's default of every option of experiments, recipes and presets that has one."""
    return {
        kind.__name__: {
            field.name: plain(field.default_factory() if field.default is msgspec.NODEFAULT else field.default)
            for field in msgspec.structs.fields(kind)
            if not field.required
        }
        for kind in sorted(kinds(Experiment) | kinds(Recipe) | kinds(Preset), key=lambda kind: kind.__name__)
    }


def kinds(kind: Any) -> set[type]:
    """Return the classes of options in a type, itself included, but for notes and differences, which decide nothing."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        inside = (kinds(hint) for hint in typing.get_type_hints(kind).values())
        return set() if kind in (Notes, Difference) else {kind}.union(*inside)
    return set().union(*(kinds(part) for part in typing.get_args(kind)))


def plain(value: Any) -> Any:
    """Return a value as YAML holds it; options whose own defaults are recorded elsewhere are an empty mapping."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, msgspec.Struct):
        return {}
    return msgspec.json.decode(msgspec.json.encode(value))


def write(root: Path = paths.ROOT) -> list[str]:
    """Record the defaults of new options, forget options that are gone, and return the names of both."""
    path, today = root / paths.DEFAULTS, current()
    known: Defaults = read_yaml(path) if path.is_file() else {}
    kept = {
        name: {field: known.get(name, {}).get(field, value) for field, value in fields.items()}
        for name, fields in today.items()
        if fields
    }
    if kept == known:
        return []
    write_text(path, HEAD + yaml.safe_dump(kept, default_flow_style=None, width=118, sort_keys=True))
    names = [{f"{name}.{field}" for name, fields in part.items() for field in fields} for part in (known, kept)]
    return sorted(names[0] ^ names[1])
