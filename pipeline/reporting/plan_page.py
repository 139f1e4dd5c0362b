"""The page that says beforehand what every table costs: GPU-hours, wall time, memory and disk."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from pipeline.analysis.gpus import V100_TFLOPS
from pipeline.markdown import Column, csv_text, number, plural, table

if TYPE_CHECKING:
    from pipeline.analysis.plan import Job, Plan, TableCost

SHOWN = 12  # shared stages on the page


@dataclass(frozen=True)
class Setting:
    """What the numbers of a plan rest on."""

    preset: str
    title: str
    gpus: int
    gpu: str  # their name
    memory: float  # GiB of each
    tflops: float
    measured_on: str  # a GPU's name, empty where all is worked out
    data: Mapping[str, float]  # GB of each data set
    wall_hours: float
    gpus_a_job: int
    chosen: Sequence[str] = ()
    kinds: Sequence[Plan] = ()  # the same jobs on other GPUs
    loaded_on: str = ""  # the processor on which loading was measured


def plan_page(costs: Sequence[TableCost], jobs: Collection[Job], shared: Sequence, setting: Setting) -> str:
    """Return the Markdown text of `reports/<preset>/plan.md`."""
    hours = sum(job.seconds for job in jobs) / 3600
    trained = [job for job in jobs if job.kind in ("train", "pretrain") and job.seconds]
    kept, scratch = sum(job.bytes for job in jobs) / 1e9, max((job.scratch for job in jobs), default=0.0) / 1e9
    memory = max((job.memory for job in jobs if job.memory is not None), default=None)
    alone = sum(cost.alone for cost in costs)
    data = sum(setting.data.values())
    what = f"tables {', '.join(setting.chosen)}" if setting.chosen else f"all {plural(len(costs), 'table')}"
    side_by_side = setting.gpus // setting.gpus_a_job
    mode = "each job on one GPU" if setting.gpus_a_job == 1 else f"each job on {setting.gpus_a_job} GPUs"
    lines = [
        f"# What preset `{setting.preset}` costs\n",
        f"{setting.title}; {what}; {plural(setting.gpus, 'GPU')} ({setting.gpu}, {setting.memory:g} GiB). Scoring, "
        "tables and figures run on processors in minutes and are not counted.\n",
        "## In all\n",
        table(
            (Column("", itemgetter(0)), Column("", itemgetter(1), "r")),
            [
                ("GPU-hours", number(hours, 1)),
                ("trainings", f"{len(trained)}"),
                (f"wall time on {plural(setting.gpus, 'GPU')}", f"{spell(setting.wall_hours)} ({mode})"),
                ("GPU-hours without sharing between tables", number(alone, 1)),
                ("memory of a whole batch, at most", known(memory)),
                ("disk: data", f"{data:.0f} GB" if data else "nothing beyond the project's own"),
                ("disk: weights, detections and proposals", f"{kept:.2f} GB"),
                ("disk: DVC's copy of these, where its `cache.type` copies", f"{kept:.2f} GB"),
                ("disk: checkpoints of the trainings that run at one time", f"{scratch * side_by_side:.2f} GB"),
            ],
        ),
        *kinds_section(setting),
        "## Tables, in the cheapest order\n",
        "Each next table is the one that costs least after those before it; its GPU-hours `more` are what it adds. "
        f"Wall time is that of the table alone on {plural(setting.gpus, 'GPU')}; GiB is what a whole batch takes, GB "
        "what stays on disk (without DVC's copy), processors are those that load images while a GPU computes.\n",
        table(TABLES, costs),
        "## What is shared\n",
        shared_text(shared, alone, hours),
        "## What the numbers rest on\n",
        basis(jobs, setting),
        f"Made by `python -m pipeline.stages.plan --preset {setting.preset} --gpus {setting.gpus}`; "
        "`--table NAME` plans one table, `--gpu KIND` is for other GPUs, `--tflops` and `--memory` for any.\n",
    ]
    return "\n".join(lines)


def kinds_section(setting: Setting) -> list[str]:
    """Return the plan on every kind of GPU, with the processors that keep each busy."""
    if not setting.kinds:
        return []
    return [f"## On {plural(setting.gpus, 'GPU')} of each kind\n", table(KINDS, setting.kinds)]


def ratio(number_of: float | None) -> str | None:
    """Return a number of processors."""
    return None if number_of is None else f"{number_of:.1f}"


KINDS = (
    Column("GPU", lambda plan: plan.gpu.name),
    Column("GiB", lambda plan: f"{plan.gpu.memory:g}", "r"),
    Column("TFLOP/s", lambda plan: f"{plan.gpu.tflops:.1f}", "r"),
    Column("GPU-hours", lambda plan: number(plan.hours, 1), "r"),
    Column("wall time", lambda plan: spell(plan.wall), "r"),
    Column("GPUs a job", lambda plan: plan.each, "r"),
    Column("processors a GPU", lambda plan: ratio(plan.processors), "r"),
)


def known(memory: float | None) -> str:
    """Return GiB in words."""
    return "not measured" if memory is None else f"{memory:.0f} GiB"


TABLES = (
    Column("table", lambda cost: cost.name),
    Column("GPU-h alone", lambda cost: number(cost.alone, 2), "r"),
    Column("GPU-h more", lambda cost: number(cost.more, 2), "r"),
    Column("GPU-h so far", lambda cost: number(cost.total, 2), "r"),
    Column("trainings", lambda cost: cost.trainings, "r"),
    Column("new", lambda cost: cost.new_trainings, "r"),
    Column("wall time", lambda cost: spell(cost.wall), "r"),
    Column("GiB", lambda cost: None if cost.memory is None else f"{cost.memory:.0f}", "r"),
    Column("GB", lambda cost: f"{cost.disk:.2f}", "r"),
    Column("processors a GPU", lambda cost: ratio(cost.processors), "r"),
    Column("", lambda cost: "nearly free" if cost.nearly_free else ""),
)
SHARED = (  # of (job, names of tables)
    Column("stage", lambda line: f"`{line[0].kind} {line[0].name}`"),
    Column("GPU-hours", lambda line: number(line[0].seconds / 3600, 2), "r"),
    Column("tables", lambda line: len(line[1]), "r"),
    Column("which", lambda line: ", ".join(line[1])),
)


def plan_csv(costs: Sequence[TableCost]) -> str:
    """Return the same numbers as CSV."""
    rows = [
        {
            "table": cost.name,
            "gpu_hours_alone": round(cost.alone, 4),
            "gpu_hours_more": round(cost.more, 4),
            "gpu_hours_total": round(cost.total, 4),
            "trainings": cost.trainings,
            "new_trainings": cost.new_trainings,
            "wall_hours_alone": round(cost.wall, 4),
            "disk_gb_alone": round(cost.disk, 4),
            "memory_gib": "" if cost.memory is None else round(cost.memory, 2),
            "processors_a_gpu": "" if cost.processors is None else round(cost.processors, 2),
            "nearly_free": int(cost.nearly_free),
        }
        for cost in costs
    ]
    return csv_text(list(rows[0]) if rows else (), rows)


def shared_text(shared: Sequence, alone: float, hours: float) -> str:
    """Return which stages several tables need."""
    if not shared:
        return "Nothing: no two of these tables need the same stage on a GPU.\n"
    saved = alone - hours
    text = (
        f"{plural(len(shared), 'stage')} on a GPU serve several tables and run once; this saves {saved:.1f} GPU-hours"
    )
    lines = [line for line in shared[:SHOWN] if line[0].seconds]
    more = f" (the {len(lines)} that save most)" if len(shared) > len(lines) else ""
    return f"{text}{more}.\n\n" + table(SHARED, lines)


def basis(jobs: Collection[Job], setting: Setting) -> str:
    """Return what was measured and what was assumed."""
    found = sum(job.measured for job in jobs)
    working = [job for job in jobs if job.seconds]
    measured = (
        f"{found} of {len(working)} stages rest on steps measured on {setting.measured_on} "
        "(`reports/benchmarks/gpu_architectures.json`), one image a step; the others run at their median rate"
        if found
        else "No step was measured on a GPU: all hours are worked out from multiply-adds"
    )
    data = ": " * bool(setting.data) + ", ".join(f"{name} {size:.1f} GB" for name, size in setting.data.items())
    loading = (
        " Processors a GPU are seconds of loading over seconds of computing; a loader's speed is that on an "
        f"{setting.loaded_on} (`reports/benchmarks/cpu_loading.md`), and where there are collages, half of the inputs "
        "are. With fewer, GPUs wait."
        if setting.loaded_on
        else ""
    )
    return (
        f"{measured}: {setting.tflops:.3g} TFLOP/s, two operations a multiply-add, a training step three times a "
        f"forward pass. Without a measurement a V100 has {V100_TFLOPS}, which Detectron2's published 0.21 s a step"
        " of 16 images on 8 V100 for Faster R-CNN R50-FPN comes to (data-sheet rates are several times as high "
        "and are not reached); another GPU has as many times more as it trained SSD300 with a ResNet-50 faster in"
        " mixed precision, in the throughputs that [Lambda "
        "published](https://github.com/lambdal/deeplearning-benchmark/blob/master/pytorch/pytorch-train-throughput-fp16.csv)."
        " Photographs count as 4:3, pyramid levels and drawn sides as equally frequent, frozen stages as trained."
        " Memory is the measured peak of one image's step in fp32 (on a CPU where no GPU has run it; a network "
        "that was not measured takes the largest of its detector and neck), times the batch: bf16 takes about "
        f"half. Several GPUs on one training are taken to be 90 % efficient.{loading} Data sets when unpacked, at "
        "most" + (data or ": none") + ".\n"
    )


def spell(hours: float) -> str:
    """Return a time as `3 min`, `5.2 h` or `12 days`."""
    if hours < 1:
        return f"{math.ceil(hours * 60)} min"
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} days"
