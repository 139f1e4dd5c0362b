"""`docs/differences.md`: every difference from each paper with reason and expected effect, written by `graph write`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline import config, paths
from pipeline import markdown as md
from pipeline.differences import entries, load_recipe, of_recipe
from pipeline.options import Difference, Experiment
from pipeline.published.papers import NAMES
from pipeline.verdicts.results import load_experiment

HEAD = """\
<!-- Written by `python -m pipeline.graph write` from `differs` of recipes and experiments; never edit it by hand. -->
# Differences from the papers

What is not as a paper prints it or as its authors' code does it, and what a paper leaves open, with the reason and,
where one is known, the expected effect. A recipe's differences hold for all its experiments, or for those whose names
fit the patterns; those of single experiments come after them. [authors.yaml](../tests/experiments/authors.yaml) holds
what papers and code have, with section, file and line: a resolved option that is neither theirs nor named here fails a
test. All this is at the papers' size (preset `full`); [limits](limits.md) says what a small preset changes.
"""


def differences_page() -> str:
    """Return the page."""
    groups = {NAMES[paper]: config.experiments(paper) for paper in paths.PAPERS}
    groups["Combinations of methods"] = config.combinations()
    groups["Backbones"] = sorted(path.stem for path in (paths.ROOT / paths.experiments_folder("shared")).glob("*.yaml"))
    text, seen = HEAD, set()
    for title, names in groups.items():
        loaded = {name: load_experiment(name) for name in names}
        recipes = sorted({one.recipe for one in loaded.values()} - seen)
        seen.update(recipes)
        text += f"\n## {title}\n{recipes_sections(recipes, loaded)}{experiments_section(loaded)}"
    return text


def recipes_sections(recipes: Sequence[str], loaded: Mapping[str, Experiment]) -> str:
    """Return the differences of a paper's recipes, those that several share under one heading."""
    sharing: dict[Difference, list[str]] = {}
    for recipe in recipes:
        for entry in entries(load_recipe(recipe).differs):
            sharing.setdefault(entry, []).append(recipe)
    text = ""
    for shared in sorted({tuple(found) for found in sharing.values()}, key=lambda found: (-len(found), found)):
        names = {name: one.recipe for name, one in loaded.items() if one.recipe in shared}
        links = md.listing([f"[`{recipe}`](../{paths.recipe_file(recipe).as_posix()})" for recipe in shared])
        text += f"\n### {'Recipes' if len(shared) > 1 else 'Recipe'} {md.listing([f'`{one}`' for one in shared])}\n\n"
        text += f"{md.plural(len(names), 'experiment')}, by {links}.\n\n"
        for entry in (entry for entry, found in sharing.items() if tuple(found) == shared):
            count = sum(entry in of_recipe(name, recipe) for name, recipe in names.items())
            patterns = md.listing([f"`{pattern}`" for pattern in entry.of])
            text += bullet(entry, "" if entry.of == ("*",) else f" Concerns {patterns} ({count} of them).")
    return text


def experiments_section(loaded: Mapping[str, Experiment]) -> str:
    """Return the differences of some experiments' own, each once with all that have it."""
    concerned: dict[Difference, list[str]] = {}
    for name, one in loaded.items():
        for entry in entries(one.notes.differs):
            concerned.setdefault(entry, []).append(name)
    text = "\n### Experiments\n\n" if concerned else "\nNo experiment has a difference of its own.\n"
    for entry, names in concerned.items():
        text += bullet(entry, f" In {md.listing([f'`{name}`' for name in names])}.")
    return text


def bullet(entry: Difference, concerns: str) -> str:
    """Return a difference with its effect, its options and the experiments that it concerns."""
    text = f"- {entry.what[0].upper()}{entry.what[1:]}. Expected effect: {entry.effect or 'not known'}."
    options = f" Options: {md.listing([f'`{key}`' for key in entry.keys])}." if entry.keys else ""
    return f"{text}{options}{concerns}\n"
