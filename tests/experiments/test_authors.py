"""Every option of every experiment at the papers' size is the paper's, its authors' code's, or a stated difference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from resolved_options import resolved

from pipeline import config, paths
from pipeline.differences import differences
from pipeline.files import read_yaml
from pipeline.options import Difference
from pipeline.spec import Spec

TABLE = Path(__file__).with_name("authors.yaml")
AUTHORS = read_yaml(TABLE)
SECTION = re.compile(rf"({'|'.join(paths.PAPERS)}) ([1-9](\.\d)*|[A-C])")
PLACE = re.compile(r"\w+:\S+")
ROW = "row"
CLOSE = 1e-4  # of shares that are written with four digits


@pytest.mark.parametrize("paper", paths.PAPERS)
def test_nothing_differs_silently(paper):
    found = [sentence for name in config.experiments(paper) for sentence in silent(config.resolve(name, "full"))]
    assert not found, "\n".join(["", *found])


def test_a_silent_difference_is_named_with_experiment_and_option():
    spec = config.resolve("psconv_frcnn_r50_fpn_1x", "full")
    options = resolved(spec)
    assert len(options) > 40
    known = entries(spec)
    assert sentence(spec, "recipe.momentum", 0.9, known, []) is None
    told = sentence(spec, "recipe.momentum", 0.8, known, [])
    assert told.startswith("psconv_frcnn_r50_fpn_1x resolves recipe.momentum to 0.8, where psconv:142 has 0.9;")
    assert sentence(spec, "recipe.momentum", 0.8, known, [Difference("less", keys=("recipe.mom*",))]) is None
    told = sentence(spec, "recipe.unheard_of", 1, known, [])
    assert told.startswith("psconv_frcnn_r50_fpn_1x resolves recipe.unheard_of to 1, of which no source is known;")


def test_a_file_of_other_authors_pins_a_value_that_must_be_listed_too():
    spec = config.resolve("pod_frcnn_r50_fpn_1x", "full")
    known = {"rpn.batch": [{"is": 256, "at": "stitcher:MODEL.RPN.BATCH_SIZE_PER_IMAGE"}]}
    listed = [Difference("not printed", keys=("rpn.*",))]
    assert "not of this paper's authors" in sentence(spec, "rpn.batch", 256, known, [])
    assert sentence(spec, "rpn.batch", 256, known, listed) is None
    assert "where stitcher:MODEL.RPN.BATCH_SIZE_PER_IMAGE has 256" in sentence(spec, "rpn.batch", 64, known, listed)


def test_every_place_is_a_section_of_a_paper_or_a_place_in_a_known_file():
    for block in AUTHORS["blocks"]:
        for option, given in block["options"].items():
            for entry in listed_entries(given):
                at = str(entry["at"])
                file = at.partition(":")[0]
                named = at == ROW or SECTION.fullmatch(at) or (PLACE.fullmatch(at) and file in AUTHORS["files"])
                assert named, (
                    f"{TABLE.name}: {option} is at {at!r}, neither a section nor a line or key of a known file"
                )


def test_every_option_that_a_difference_names_exists():
    """A pattern that fits nothing is a slip of the pen, or of an option that is gone."""
    unused = {}
    for paper in paths.PAPERS:
        for name in config.experiments(paper):
            spec = config.resolve(name, "full")
            options = resolved(spec)
            for entry in differences(name, spec.experiment):
                for key in entry.keys:
                    unused.setdefault(key, True)
                    unused[key] &= not any(fnmatch(option, key) for option in options)
    gone = sorted(key for key, never in unused.items() if never)
    assert not gone, f"differs names {', '.join(gone)}, which no experiment resolves; correct the pattern."


def silent(spec: Spec) -> Iterator[str]:
    """Yield a sentence for each option of an experiment that nobody has and nobody listed."""
    known, listed = entries(spec), differences(spec.name, spec.experiment)
    for option, value in resolved(spec).items():
        told = sentence(spec, option, value, known, listed)
        if told:
            yield told


def sentence(
    spec: Spec, option: str, value: Any, known: dict[str, list[dict[str, Any]]], listed: list[Difference]
) -> str | None:
    """Return what is wrong with an option in one sentence, None where it is the authors' or listed."""
    stated = any(fnmatch(option, key) for entry in listed for key in entry.keys)
    found = [entry for pattern, many in known.items() if fnmatch(option, pattern) for entry in many]
    exact = known.get(option, found)
    fitting = [entry for entry in exact if "is" not in entry or equal(value, entry["is"])]
    foreign = [entry for entry in exact if not own(str(entry["at"]), spec.paper)]
    where = f"{spec.name} resolves {option} to {value!r}"
    cure = f"under differs of {paths.recipe_file(spec.experiment.recipe)} or of the experiment"
    if not exact:
        return None if stated else f"{where}, of which no source is known; give it in {TABLE.name}, or list it {cure}."
    if fitting and (stated or any(entry not in foreign for entry in fitting)):
        return None
    if fitting:
        return f"{where} as {fitting[0]['at']}, which is not of this paper's authors; list it {cure}."
    if stated and len(foreign) < len(exact):
        return None
    return f"{where}, where {exact[0]['at']} has {exact[0]['is']!r}; correct it, or list it {cure}."


def own(at: str, paper: str) -> bool:
    """Whether a place is the paper's, its table's row, or in a file of its authors."""
    if at == ROW or SECTION.fullmatch(at):
        return at == ROW or at.startswith(f"{paper} ")
    return paper in AUTHORS["files"][at.partition(":")[0]]["of"]


def entries(spec: Spec) -> dict[str, list[dict[str, Any]]]:
    """Return what the authors have for an experiment, by option; later blocks win."""
    experiment = spec.experiment
    facts = {"name": spec.name, "paper": spec.paper, "recipe": experiment.recipe}
    facts |= {"detector": experiment.detector, "neck": experiment.neck}
    return {
        option: listed_entries(given)
        for block in AUTHORS["blocks"]
        if all(fits(facts[fact], patterns) for fact, patterns in block.get("of", {}).items())
        for option, given in block["options"].items()
    }


def fits(value: str, patterns: str | list[str]) -> bool:
    return any(fnmatch(value, pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns))


def listed_entries(given: Any) -> list[dict[str, Any]]:
    return given if isinstance(given, list) else [given]


def equal(value: Any, wanted: Any) -> bool:
    """Whether a value is what the authors have, shares up to the digits that are written."""
    if isinstance(value, (list, tuple)):
        same = isinstance(wanted, list) and len(value) == len(wanted)
        return same and all(equal(one, other) for one, other in zip(value, wanted, strict=True))
    if isinstance(value, bool) or isinstance(wanted, bool) or not isinstance(value, (int, float)):
        return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
    return isinstance(wanted, (int, float)) and abs(value - wanted) <= CLOSE * max(1.0, abs(wanted))
