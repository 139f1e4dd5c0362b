"""What the rules take from the dvc.yaml files, and what those do not say: resources, and places in Snakemake's report."""

import sys
from pathlib import Path

from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.utils import validate

sys.path.insert(0, str(Path(workflow.basedir).parent))

from pipeline import code_digest
from pipeline.config import load_preset, resolve
from pipeline.graph import declared
from pipeline.graph.cluster_job import pass_sigterm_on
from pipeline.launch import resources

validate(config, "../schemas/params.schema.yaml")
if workflow.remote_exec:  # this is a scheduler's job
    pass_sigterm_on(JobScheduler)

STAGES = declared.stages()
KINDS = declared.kinds(STAGES)
MAKER = {out: stage for stage in STAGES.values() for out in stage.outs}
THREADS = load_preset(config["preset"]).threads or workflow.cores or 1
RESOURCES = dict.fromkeys(  # of a kind of stage that takes all threads of the preset; others ask for nothing
    "pretrain classify fine_tune train propose predict search_ranges learn_scales offsets export".split(),
    {"mem": "3GB", "gpu": 1},
)
TOGETHER = (
    resources()
)  # of those that run in several processes where the machine says so
RESOURCES |= {
    kind: {"mem": "3GB"} | TOGETHER for kind in ("classify", "fine_tune", "train")
}
RESOURCES["pretrain"] = {"mem": "3GB"} | {
    name: lambda wildcards, name=name: resources(
        not resolve(wildcards.key, config["preset"]).published
    )[name]
    for name in TOGETHER
}
REPORTED = {  # kind: caption (report/*.rst), category and labels of its page, or of its figures where it writes no page
    "table": ("table", "Tables", {"table": "{key}"}),
    "headline": ("table", "Headline tables", {"table": "{key}"}),
    "page": ("page", "Papers", {"paper": "{key}"}),
    "figures": ("figures", "Figures", {}),
    "statistics": ("statistics", "Data", {"page": "statistics"}),
    "verify": ("data", "Data", {"page": "verification"}),
    "verify_voc": ("data", "Data", {"page": "verification, PASCAL VOC"}),
    "plan": ("plan", "Index", {"page": "costs"}),
    "quickstart": ("index", "Index", {}),
    "catalogue": ("catalogue", "Index", {}),
    "claims": ("claims", "Index", {}),
    "methods": ("methods", "Index", {}),
    "compare": ("compare", "Index", {}),
}


# Before the graph is drawn: rules then see which digests changed. As a job it would only say that all of them might.
if code_digest.stale():
    shell(
        "mkdir -p logs && dvc --wait-for-lock repro --single-item code > logs/code.log 2>&1"
    )


def maker(kind):
    """Return a function that gives the stage behind a rule's wildcards: the one that writes the rule's first output."""
    return lambda wildcards: MAKER[kind.patterns[0].format(**wildcards)]


def inputs(kind):
    """Return a rule's inputs. For `code`, whose input is the whole package, a folder's time would say nothing."""
    if kind.name == "code":
        return [ancient(dep) for dep in STAGES["code"].deps]
    return lambda wildcards: maker(kind)(wildcards).deps


def outputs(kind):
    """Return a rule's outputs: folders called so, and what Snakemake's report shows with its place there."""
    outs = [out if Path(out).suffix else directory(out) for out in kind.patterns]
    if kind.name in REPORTED:
        caption, category, labels = REPORTED[kind.name]
        place = {
            "caption": f"../report/{caption}.rst",
            "category": category,
            "labels": labels,
        }
        pages = [out for out in outs if out.endswith(".md")][:1]
        shown = pages or [out for out in outs if out.endswith(".png")]
        outs = [report(out, **place) if out in shown else out for out in outs]
    return outs
