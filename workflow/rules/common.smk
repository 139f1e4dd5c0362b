"""Names, helper functions and wildcards of all rules. Paths come from pipeline/paths.py, stages from the dvc.yaml files."""

import sys
from pathlib import Path

from snakemake.utils import validate

sys.path.insert(0, str(Path(workflow.basedir).parent))

from pipeline import code_digest, paths
from pipeline.config import load_preset
from pipeline.files import read_yaml
from pipeline.graph import declared

validate(config, "../schemas/params.schema.yaml")

PRESET = config["preset"]
THREADS = load_preset(PRESET).threads or workflow.cores or 1
STAGES = declared.stages()
STARTS = read_yaml("workflow/inits.yaml")
INITS = STARTS["inits"] | STARTS["deeper_inits"] | STARTS["further_inits"]
GSL = STARTS["gsl"] | STARTS["further_gsl"]
CLASSIFIERS = read_yaml("workflow/classifiers.yaml")
ANALYSES = read_yaml("workflow/analyses.yaml")
PAPERS = [
    read_yaml(path)
    for folder in ("combinations", "papers")
    for path in sorted(Path("workflow", folder).rglob("experiments.yaml"))
]
EXPERIMENTS = {
    name: item for paper in PAPERS for name, item in paper["experiments"].items()
}
ON_VOC = {
    name
    for paper in PAPERS
    if paper.get("dataset") == "voc"
    for name in paper["experiments"]
}
EVALUATIONS = {
    name: item for paper in PAPERS for name, item in paper["evaluations"].items()
}
SEARCHED = [name for paper in PAPERS for name in paper.get("searched", {})]
PROPOSING = [name for paper in PAPERS for name in paper.get("proposing", {})]
ADDRESS = {address.rpartition(":")[2]: address for address in STAGES}
TABLES = [
    address.rpartition(":")[2]
    for address in STAGES
    if "tables/dvc.yaml:" in address and "headline_" not in address
]
HEADLINE = [name.removeprefix("headline_") for name in ADDRESS if "headline_" in name]


wildcard_constraints:
    init="|".join(INITS),
    gsl="|".join(GSL),
    experiment="|".join(EXPERIMENTS),
    evaluation="|".join(EVALUATIONS),
    test="|".join(sorted({item["test"] for item in EVALUATIONS.values()})),
    classifier="|".join(CLASSIFIERS["scratch"]),
    measured="|".join(CLASSIFIERS["measured"]),
    tuned="|".join(CLASSIFIERS["fine_tuned"]),
    offset="|".join(ANALYSES["offsets"]),
    exported="|".join(ANALYSES["export"]),
    weighed="|".join(ANALYSES["weight_share"]),
    weighed_cls="|".join(ANALYSES["weight_share_classifier"]),
    shared="|".join(ANALYSES["loss_share"]),
    proposing="|".join(PROPOSING),
    searched="|".join(SEARCHED),
    table="|".join(TABLES),
    headline="|".join(HEADLINE),
    paper="|".join(paths.PAPERS),


def dvc_repro(name):
    """Return the command that asks DVC to bring one stage up to date; `name` may hold wildcards."""
    return f"dvc --wait-for-lock repro --single-item {name}"


# Before the graph is drawn: rules then see which digests changed. As a job it would only say that all of them might.
if code_digest.stale():
    shell(f"mkdir -p logs && {dvc_repro('code')} > logs/code.log 2>&1")


def stage_of_name(stage, wildcard):
    """Return a function that gives the command for one stage, whichever dvc.yaml it stands in."""

    def command(wildcards):
        name = wildcard.format(**wildcards).removesuffix("__single")
        return dvc_repro(ADDRESS[f"{stage}@{name}"])

    return command


def table_stage(wildcards):
    """Return the command for one table."""
    return dvc_repro(ADDRESS[stage_of_table(wildcards)])


def stage_of_table(wildcards):
    """Return the name of the stage of a table, or of its rows that the quickstart shows."""
    headline = wildcards.get("headline")
    return f"headline_{headline}" if headline else wildcards.table


def deps_of(name):
    """Return what a stage depends on besides its code and the preset, as its dvc.yaml says."""
    deps = STAGES[ADDRESS[name]].deps
    common = (str(paths.preset_file(PRESET)), "data/code/")
    return [dep for dep in deps if not dep.startswith(common)]


def rows_of_table(wildcards):
    """Return the results, experiments and published numbers that one table shows."""
    return deps_of(stage_of_table(wildcards))


def analysis_deps(stage, wildcard):
    """Return a function that gives what an analysis of one experiment depends on."""

    def deps(wildcards):
        return deps_of(f"{stage}@{wildcards[wildcard]}")

    return deps


def parts_of_page(wildcards):
    """Return the tables, figures and experiments that one paper's page shows."""
    return deps_of(f"page_{wildcards.paper}")


def outs_of(name, start=""):
    """Return the files below `start` that DVC says a stage writes."""
    return [out for out in STAGES[ADDRESS[name]].outs if out.startswith(start)]


def init_of(wildcards):
    """Return the init that an experiment starts from."""
    name = wildcards.get("experiment") or wildcards.gsl
    return paths.init(PRESET, EXPERIMENTS[name]["init"])


def second_init_of(wildcards):
    """Return the init of a second body, nothing for experiments with one body."""
    name = EXPERIMENTS[wildcards.experiment].get("second_init")
    return [paths.init(PRESET, name)] if name else []


def recipe_of(wildcards):
    """Return the recipe of an experiment or of a pre-training."""
    name = (
        wildcards.get("experiment")
        or wildcards.get("gsl")
        or wildcards.get("proposing")
        or wildcards.init
    )
    return paths.recipe_file((EXPERIMENTS | INITS)[name]["recipe"])


def experiment_file(wildcards):
    """Return the file that says what an experiment is."""
    return paths.experiment_file(
        wildcards.get("experiment")
        or wildcards.get("gsl")
        or wildcards.get("proposing")
        or wildcards.init
    )


def manifest_of(wildcards):
    """Return the verified data of an experiment or an evaluation."""
    name = wildcards.get("experiment") or wildcards.evaluation
    on_voc = paths.split_evaluation(name)[0] in ON_VOC
    return paths.manifest(PRESET, "voc" if on_voc else "coco")


def proposals_of(split):
    """Return a function that gives the proposals that a classifier of regions reads, nothing for other detectors."""

    def proposals(wildcards):
        item = EXPERIMENTS[wildcards.experiment]
        if "test" in wildcards.keys():
            item = EVALUATIONS[
                paths.evaluation_name(wildcards.experiment, wildcards.test)
            ]
        source = item.get("proposals")
        return [paths.proposals(PRESET, source, split)] if source else []

    return proposals


def members_of(wildcards):
    """Return experiments and weights of the further networks of an ensemble, nothing for other tests."""
    name = paths.evaluation_name(wildcards.experiment, wildcards.test)
    names = [EVALUATIONS[name].get(place) for place in ("second", "third")]
    members = [member for member in names if member]
    files = [paths.experiment_file(member) for member in members]
    return files + [paths.weights(PRESET, member) for member in members]


def detections_of(wildcards):
    """Return the detections that an evaluation scores."""
    return paths.detections(PRESET, wildcards.evaluation)
