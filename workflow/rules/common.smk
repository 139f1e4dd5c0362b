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
INITS = STARTS["inits"] | STARTS["further_inits"]
GSL = STARTS["gsl"] | STARTS["further_gsl"]
CLASSIFIERS = read_yaml("workflow/classifiers.yaml")
ANALYSES = read_yaml("workflow/analyses.yaml")
PAPERS = [
    read_yaml(path)
    for path in sorted(Path("workflow/papers").rglob("experiments.yaml"))
]
EXPERIMENTS = {
    name: item for paper in PAPERS for name, item in paper["experiments"].items()
}
EVALUATIONS = {
    name: item for paper in PAPERS for name, item in paper["evaluations"].items()
}
SEARCHED = [name for paper in PAPERS for name in paper.get("searched", {})]
PROPOSING = [name for paper in PAPERS for name in paper.get("proposing", {})]
ADDRESS = {address.rpartition(":")[2]: address for address in STAGES}
TABLES = [address.rpartition(":")[2] for address in STAGES if "/tables/" in address]


wildcard_constraints:
    init="|".join(INITS),
    gsl="|".join(GSL),
    experiment="|".join(EXPERIMENTS),
    evaluation="|".join(EVALUATIONS),
    test="|".join(sorted({item["test"] for item in EVALUATIONS.values()})),
    classifier="|".join(CLASSIFIERS["scratch"]),
    tuned="|".join(CLASSIFIERS["fine_tuned"]),
    offset="|".join(ANALYSES["offsets"]),
    exported="|".join(ANALYSES["export"]),
    weighed="|".join(ANALYSES["weight_share"]),
    proposing="|".join(PROPOSING),
    searched="|".join(SEARCHED),
    table="|".join(TABLES),
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
    return dvc_repro(ADDRESS[wildcards.table])


def deps_of(name):
    """Return what a stage depends on besides its code and the preset, as its dvc.yaml says."""
    deps = STAGES[ADDRESS[name]].deps
    common = (str(paths.preset_file(PRESET)), "data/code/")
    return [dep for dep in deps if not dep.startswith(common)]


def rows_of_table(wildcards):
    """Return the results, experiments and published numbers that one table shows."""
    return deps_of(wildcards.table)


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


def detections_of(wildcards):
    """Return the detections that an evaluation scores."""
    return paths.detections(PRESET, wildcards.evaluation)
