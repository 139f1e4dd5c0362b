"""Which experiments, evaluations and inits stand in which folder of the graph, read from the experiment files.

Experiments whose stages need more files than others' (proposals, a second init, further networks) or other data have
a folder of their own, as all stages of a DVC `foreach` depend on the same kinds of files.
"""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline import config, paths
from pipeline.own.detectors import KINDS
from pipeline.published.headline import rests_on
from pipeline.published.rows import is_classifier
from pipeline.published.tables import load_published
from pipeline.verdicts.results import load_experiment

WORKFLOW = Path("workflow")
COMPARED = {kind.evaluation for kind in KINDS}
Index = dict[str, dict[str, dict[str, str]]]  # list: name: what its stages need


@dataclass(frozen=True)
class Folder:
    """One folder with a dvc.yaml: the groups of stages.yaml that it holds, and what they run over."""

    path: Path
    groups: tuple[str, ...] = ()
    index: Index = field(default_factory=dict)
    index_file: Path | None = None
    voc: str = ""


def folders() -> list[Folder]:
    """Return all folders of the graph but those of tables."""
    inits = {place: index for place, index in index_inits().items() if place == "." or any(index.values())}
    found = [Folder(Path(), ("root", "inits"), inits.pop("."), WORKFLOW / "inits.yaml")]
    found += [Folder(path := WORKFLOW / p, ("inits",), index, path / "inits.yaml") for p, index in inits.items()]
    found.append(Folder(WORKFLOW / "classifiers", ("classifiers",), index_classifiers(), WORKFLOW / "classifiers.yaml"))
    found.append(Folder(WORKFLOW / "data", ("data",)))
    for paper in (*paths.PAPERS, paths.COMBINATIONS):
        for place, index in index_experiments(paper).items():
            path = paths.experiments_folder(paper).parent / place
            voc = "/voc" if place == "voc" else ""
            found.append(Folder(path, ("experiments",), index, path / "experiments.yaml", voc))
    return found


def names(paper: str, classifiers: bool = False) -> list[str]:
    """Return the experiments of a paper, or of all for `*`: those that train detectors, or classifiers."""
    found = config.combinations() if paper == paths.COMBINATIONS else config.experiments(paper)
    return [name for name in found if is_classifier(name) == classifiers]


def index_experiments(paper: str) -> dict[str, Index]:
    """Return experiments and evaluations of a paper by the folder, below its own, in which their stages stand."""
    result: dict[str, Index] = {}
    for name in names(paper):
        experiment = load_experiment(name)
        second = experiment.region and experiment.region.second_init
        place = "joint" if second else "proposals" if experiment.proposals else ""
        place = "voc" if experiment.dataset == "voc" else place
        item = {"init": experiment.init} | ({"second_init": second} if second else {})
        add(result, place, "experiments", name, item | proposing(experiment.proposals))
        for test, options in experiment.tests.items():
            source = options.proposals or experiment.proposals
            item = {"experiment": name, "test": test, **proposing(source)}
            members = dict(zip(("second", "third"), options.members, strict=False))
            where = "ensembles" if members else place
            evaluation = paths.evaluation_name(name, test)
            lists = {"evaluations": True, "searched": options.search_ranges, "compared": evaluation in COMPARED}
            for kind in (kind for kind, holds in lists.items() if holds):
                add(result, where, kind, evaluation, item | members)
            if source:
                add(result, "proposals", "proposing", source, {})
    return result


def proposing(name: str | None) -> dict[str, str]:
    return {"proposals": name} if name else {}


def add(result: dict[str, Index], place: str, kind: str, name: str, item: dict[str, str]) -> None:
    result.setdefault(place, {}).setdefault(kind, {})[name] = item


def index_inits() -> dict[str, Index]:
    """Return what trainings start from: what the quickstart rests on for the root, and for two folders of its own.

    `deeper` holds inits that may take over another's weights, `further` all others.
    """
    trained = [*names("*"), *names(paths.COMBINATIONS)]
    started = {load_experiment(name).init for name in trained}
    shared = sorted(path.stem for path in (paths.ROOT / WORKFLOW / "inits").glob("*.yaml"))
    root, result = rests_on(), {".": {"inits": {}, "gsl": {}}}
    for name in [*shared, *(name for name in names("*", classifiers=True) if name in started)]:
        like = load_experiment(name).like
        place = "deeper" if like else "." if name in root else "further"
        add(result, place, "inits", name, {"like": like} if like else {})
    for name in trained:
        experiment = load_experiment(name)
        if experiment.method.global_scale:
            add(result, "." if name in root else "further", "gsl", name, {"init": experiment.init})
    return result


def index_classifiers() -> Index:
    """Return the classifiers that no detector starts from, and whose size tables show."""
    apart = {name for index in index_inits().values() for name in index.get("inits", {})}
    result: Index = {"scratch": {}, "fine_tuned": {}, "measured": {}}
    for name in (name for name in names("*", classifiers=True) if name not in apart):
        init = load_experiment(name).init
        kinds = ("scratch", "measured") if init == "none" else ("fine_tuned",)
        for kind in kinds:
            result[kind][name] = {} if init == "none" else {"init": init}
    rows = [row for paper in paths.PAPERS for table in load_published(paper).tables for row in table.rows]
    shown = {row.source.name for row in rows if row.source.kind == "classifier"}
    result["measured"] |= {name: {} for name in sorted(shown - result["fine_tuned"].keys())}
    return result
