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
from pipeline.files import read_text, read_yaml, write_text
from pipeline.graph import earlier, signing
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
    """Let the comparison depend on some detectors only, so that a build trains no others and the page shows none."""
    gone = experiments_behind(KINDS) - experiments_behind(chosen)
    own = {kind.evaluation for kind in chosen}
    evaluations = {kind.evaluation for kind in KINDS} - own - ({PROPOSED} if f"{DST}_dst" in own else set())
    forget(preset, evaluations | of_other_inputs(preset))
    graph = read_yaml(paths.ROOT / GRAPH)
    body = graph["stages"]["compare"]
    body["deps"] = [dep for dep in body["deps"] if not belongs(dep, gone, evaluations)]
    write_text(paths.ROOT / GRAPH, dumped(graph))


def forget(preset: str, evaluations: Iterable[str]) -> None:
    """Remove scores by class and pictures of mistakes, which an earlier run of other methods, or on other data, left.

    Where the trainings behind them still hold, they are made again in seconds.
    """
    for name in evaluations:
        own = paths.per_class_name(name)
        drawn = (paths.index(preset).parent / f"mistakes/{name}_{what}.png" for what in ("misses", "false_alarms"))
        for place in (paths.metrics(preset, own), paths.bootstrap(preset, own), *drawn):
            (paths.ROOT / place).unlink(missing_ok=True)


def of_other_inputs(preset: str) -> set[str]:
    """Return the detectors whose scores by class were made from another manifest or digest than the present ones.

    A page that is written before their turn would show them beside what was trained on the present data.
    """
    places = {kind: f"workflow/papers/{kind.paper}/dvc.yaml:{stage_of(kind)}" for kind in KINDS}
    digests = (paths.code_digest(preset, "per_class", kind.evaluation) for kind in KINDS)
    present = {path for path in (paths.manifest(preset), *digests) if (paths.ROOT / path).is_file()}
    records = signing.load(places.values(), paths.ROOT)
    kept = records.keys() - earlier.changed(records, {path: read_text(paths.ROOT / path) for path in present})
    return {kind.evaluation for kind, place in places.items() if place not in kept}


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


def stage_of(kind: Kind) -> str:
    """Return the name of the last stage of a detector."""
    return f"per_class@{kind.evaluation}"


def scored(preset: str, kind: Kind) -> bool:
    return (paths.ROOT / paths.metrics(preset, paths.per_class_name(kind.evaluation))).is_file()
