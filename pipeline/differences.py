"""Where experiments differ from their papers: each difference with its reason and expected effect, written once.

A recipe's file lists what all its experiments share, or those that `of` names; an experiment's notes list the rest.
"""

from __future__ import annotations

from fnmatch import fnmatch
from functools import cache

from pipeline import config, paths
from pipeline.options import Difference, Differs, Experiment, Recipe


def entries(differs: Differs) -> list[Difference]:
    """Return differences as their files list them, a sentence alone as one of which nothing more is known."""
    return [Difference(entry) if isinstance(entry, str) else entry for entry in differs]


@cache
def load_recipe(name: str) -> Recipe:
    """Return a recipe by name. Raises InputError where it is wrong."""
    return config.load_recipe(paths.ROOT / paths.recipe_file(name))


def of_recipe(experiment: str, recipe: str) -> list[Difference]:
    """Return a recipe's differences that concern one of its experiments."""
    found = entries(load_recipe(recipe).differs)
    return [entry for entry in found if any(fnmatch(experiment, pattern) for pattern in entry.of)]


def differences(name: str, experiment: Experiment) -> list[Difference]:
    """Return an experiment's differences from its paper: those of its recipe, then its own."""
    return [*of_recipe(name, experiment.recipe), *entries(experiment.notes.differs)]
