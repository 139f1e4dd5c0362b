"""The graph of one comparison, in its folder below `build`: without what was left out, with DST's own threshold.

`workspace.sync` brings back the checkout's graph first; what is changed here is changed there only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from pipeline import paths
from pipeline.analysis.loss_share import PAPER_THRESHOLD
from pipeline.errors import InputError, nearest
from pipeline.files import found_json, read_yaml, write_text
from pipeline.graph.write import dumped
from pipeline.own.detectors import DST, KINDS, LONGER, PLAIN, PROPOSED, Kind, kinds
from pipeline.verdicts.lengths import behind
from pipeline.verdicts.results import load_experiment

GRAPH, INDEX = Path("dvc.yaml"), Path("workflow/papers/dst/experiments.yaml")
ENDS = re.compile(r"(_per_class|_size|_training|_scales|_loss_share)?\.(json|yaml)$")  # of files of one experiment
ALWAYS = "plain"  # the plain detector at both lengths, which every method is set beside


def group_of(kind: Kind) -> str:
    """Return under which word METHODS names a detector: its paper's, or `ALWAYS`."""
    return ALWAYS if kind.evaluation in (PLAIN, LONGER) else kind.paper


def chosen_kinds(methods: str) -> list[Kind]:
    """Return the detectors that `METHODS=dst,psconv` trains; all without any.

    Raises:
        InputError: a word that is no paper's.
    """
    words = [word for word in re.split(r"[,\s]+", methods.lower()) if word]
    for word in words:
        if word not in paths.PAPERS:
            hint = nearest(word, paths.PAPERS)
            raise InputError(f"METHODS has {word!r}{hint}; it takes papers of {', '.join(paths.PAPERS)}, by commas.")
    return [kind for kind in kinds() if not words or group_of(kind) in (ALWAYS, *words)]


def experiments_behind(chosen: Iterable[Kind]) -> set[str]:
    """Return the experiments whose files a comparison of some detectors reads."""
    found = set()
    for kind in chosen:
        if (paths.ROOT / paths.experiment_file(kind.experiment)).is_file():
            proposing = load_experiment(kind.experiment).proposals
            found |= {*behind(kind.experiment), *([proposing] if proposing else [])}
    return found


def narrow(chosen: Sequence[Kind], preset: str) -> None:
    """Let the comparison depend on some detectors only, so that a build trains no others and the page shows none.

    An earlier run of other methods, perhaps from other weights or on other data, leaves results behind; its scores by
    class are made again in seconds where its detectors are chosen once more.
    """
    gone = experiments_behind(KINDS) - experiments_behind(chosen)
    own = {kind.evaluation for kind in chosen}
    evaluations = {kind.evaluation for kind in KINDS} - own - ({PROPOSED} if f"{DST}_dst" in own else set())
    for name in map(paths.per_class_name, evaluations):
        for place in (paths.metrics(preset, name), paths.bootstrap(preset, name)):
            (paths.ROOT / place).unlink(missing_ok=True)
    graph = read_yaml(paths.ROOT / GRAPH)
    body = graph["stages"]["compare"]
    body["deps"] = [dep for dep in body["deps"] if not belongs(dep, gone, evaluations)]
    write_text(paths.ROOT / GRAPH, dumped(graph))


def belongs(dep: str, experiments: set[str], evaluations: set[str]) -> bool:
    """Whether a file is one of some experiments, or of some of their evaluations."""
    stem = ENDS.sub("", Path(dep).name)
    return stem in evaluations or paths.split_evaluation(stem)[0] in experiments


def add_proposed(threshold: float | None) -> bool:
    """Add DST with the threshold that the plain detector proposes beside the paper's; return whether it differs."""
    if threshold is None or threshold == PAPER_THRESHOLD:
        return False
    content = read_yaml(paths.ROOT / paths.experiment_file(f"{DST}_dst"))
    content["method"]["collage"]["threshold"] = threshold
    content["tests"] = {"single": content["tests"]["single"]}
    content["notes"] = {"row": "of no table: the threshold is this data's own", "expected": {}, "cost": "as DST"}
    write_text(paths.ROOT / paths.experiment_file(PROPOSED), yaml.safe_dump(content, sort_keys=False))
    index = read_yaml(paths.ROOT / INDEX)
    for name in ("experiments", "evaluations", "compared"):
        item = dict(index[name][f"{DST}_dst"])
        index[name][PROPOSED] = item | ({"experiment": PROPOSED} if "experiment" in item else {})
    write_text(paths.ROOT / INDEX, dumped(index))
    graph = read_yaml(paths.ROOT / GRAPH)
    deps = graph["stages"]["compare"]["deps"]
    own = (dep for dep in deps if belongs(dep, {f"{DST}_dst"}, set()))
    graph["stages"]["compare"]["deps"] = [*deps, *(dep.replace(f"{DST}_dst", PROPOSED) for dep in own)]
    write_text(paths.ROOT / GRAPH, dumped(graph))
    return True


def threshold_read(preset: str) -> float | None:
    """Return the threshold that the plain detector's training proposed; None where it was not read off yet."""
    return (found_json(paths.ROOT / paths.loss_share(preset, DST)) or {}).get("proposed_threshold")


def stage_of(kind: Kind) -> str:
    """Return the name of the last stage of a detector."""
    return f"per_class@{kind.evaluation}"


def scored(preset: str, kind: Kind) -> bool:
    return (paths.ROOT / paths.metrics(preset, paths.per_class_name(kind.evaluation))).is_file()
