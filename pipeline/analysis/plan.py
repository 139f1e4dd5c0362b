"""What every table of a preset costs, from the graph itself: each stage that it needs is counted once.

A job is one stage that computes on a GPU. Scoring, tables and figures take minutes on a CPU and are not counted.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from pipeline import paths
from pipeline.analysis.costs import (
    Network,
    Rates,
    area_of,
    family_of,
    images,
    key_of,
    regions,
    test_areas,
    training_area,
    training_images,
)
from pipeline.analysis.gpus import GPUS, Gpu
from pipeline.analysis.wall_time import best_wall_time
from pipeline.errors import InputError, nearest
from pipeline.graph.declared import Stage, ancestors
from pipeline.spec import Spec
from pipeline.training.classification.pretraining import is_trained

DETECTION_BYTES = 110  # of one detection in a results file
PROPOSAL_BYTES = 20
STATES = 3  # fp32 copies of the weights in a training: weights, gradients and momentum
CHECKPOINTS = 2 * 2  # weights and momentum in the last two checkpoints
FREE = 0.01  # a table is nearly free if less than this share of its own cost is left
GIB, GB = 2**30, 1e9


@dataclass(frozen=True)
class Job:
    """One stage on a GPU."""

    address: str
    kind: str
    name: str
    seconds: float  # of one GPU
    measured: bool
    bytes: float  # kept on disk
    scratch: float = 0.0  # bytes while it runs
    memory: float | None = None  # GiB of the whole batch on one GPU, None where nothing was measured
    loading: float = 0.0  # seconds of one processor that prepares its images
    needs: tuple[str, ...] = ()  # addresses of jobs


@dataclass(frozen=True)
class TableCost:
    """The cost of one table in the cheapest order of tables; hours are those of one GPU."""

    name: str
    alone: float
    more: float  # after the tables before it
    total: float  # of this one and all before it
    trainings: int
    new_trainings: int
    wall: float  # of the table alone on all GPUs
    disk: float  # GB that the table alone keeps on disk
    memory: float | None
    processors: float | None = None  # that loading takes for a GPU

    @property
    def nearly_free(self) -> bool:
        """Whether the jobs of earlier tables leave next to nothing to do for this one."""
        return self.alone > 0 and self.more <= FREE * self.alone


@dataclass(frozen=True)
class Plan:
    """What some jobs come to on some GPUs of one kind."""

    gpu: Gpu
    hours: float  # of one GPU
    wall: float  # hours on all
    each: int  # GPUs of a job
    processors: float | None  # that loading takes for a GPU


Counter = Callable[[Spec], Network]


def job_of(stage: Stage, resolve: Callable[[str], Spec], count: Counter, rates: Rates) -> Job | None:
    """Return the job of a stage, None where it needs no GPU."""
    words = stage.command.split()
    kind = stage.script
    if kind not in ("train", "pretrain", "predict", "propose", "learn_scales", "offsets"):
        return None
    name, test = paths.split_evaluation(words[3])
    spec = resolve(name)
    network = count(spec)
    weights = 4.0 * network.parameters
    if kind == "pretrain" and not is_trained(spec):
        return Job(stage.address, kind, name, 0.0, False, weights)
    if kind in ("train", "pretrain"):
        area = training_area(spec)
        macs = network.macs(area, regions(spec, "training"))
        images = training_images(spec)
        seconds, measured = rates.seconds(spec, "training", images, macs, area)
        memory, loading = memory_of(spec, network, rates), rates.loading_seconds(spec, "training")
        scratch = CHECKPOINTS * weights
        return Job(stage.address, kind, name, seconds, measured, weights, scratch, memory, images * loading)
    looks, seen, size = looks_of(kind, spec, test)
    seconds, measured = 0.0, False
    for area in looks:
        part, measured = rates.seconds(spec, "inference", seen, network.macs(area, regions(spec, "inference")), area)
        seconds += part
    loads = seen * len(spec.experiment.tests[test].short_sides) if kind in ("predict", "propose") else seen
    loading = loads * rates.loading_seconds(spec, "inference")
    return Job(stage.address, kind, words[3], seconds, measured, size, loading=loading)


def looks_of(kind: str, spec: Spec, test: str) -> tuple[list[float], float, float]:
    """Return the input pixels of each look at an image, the number of images, and the bytes written."""
    preset, recipe = spec.preset, spec.recipe
    if kind in ("learn_scales", "offsets"):
        seen = sum(min(preset.training.scale_images, images(spec, split)) for split in ("train", "val"))
        return [area_of(preset, recipe.short_side, recipe.long_side)], float(seen), 1e5
    areas = test_areas(spec, test)
    if kind == "propose":
        seen = float(images(spec, "train") + images(spec, "val"))
        top = spec.experiment.rpn.top if spec.experiment.rpn else 300
        return areas, seen, seen * top * len(areas) * PROPOSAL_BYTES
    seen = float(images(spec, "val"))
    return areas, seen, seen * preset.model.detections * DETECTION_BYTES


def memory_of(spec: Spec, network: Network, rates: Rates) -> float | None:
    """Return the GiB of a training with its whole batch on one GPU, from the measured step of one image.

    A network that was not measured counts as the largest of its family; None where none of the family was measured.
    """
    family = family_of(spec.experiment.detector, spec.experiment.neck)
    peak = rates.peaks.get(key_of(spec), rates.peaks.get(family))
    if peak is None:
        return None
    fixed = 4.0 * network.parameters * STATES
    return (fixed + max(0.0, peak - fixed) * spec.batch) / GIB


def jobs_of(
    known: Mapping[str, Stage],
    wanted: Iterable[str],
    resolve: Callable[[str], Spec],
    count: Counter,
    rates: Rates,
) -> dict[str, Job]:
    """Return every job that the wanted stages need, by address, each with the jobs that it needs."""
    needed = ancestors(wanted, known)
    jobs = {}
    for address in sorted(needed):
        job = job_of(known[address], resolve, count, rates)
        if job is not None:
            jobs[address] = job
    maker = {out: stage.address for stage in known.values() for out in stage.outs}

    def before(address: str, seen: set[str]) -> set[str]:
        found = set()
        for dep in known[address].deps:
            maker_of = maker.get(dep)
            if maker_of is None or maker_of in seen:
                continue
            seen.add(maker_of)
            found |= {maker_of} if maker_of in jobs else before(maker_of, seen)
        return found

    return {address: replace(job, needs=tuple(sorted(before(address, set())))) for address, job in jobs.items()}


def table_stages(known: Mapping[str, Stage], names: Collection[str] = ()) -> dict[str, str]:
    """Return the addresses of all tables, or of the named ones; raise InputError for a name that is no table."""
    tables = {address.rpartition(":")[2]: address for address in known if "/tables/" in address}
    tables = {name: address for name, address in tables.items() if not name.startswith("headline_")}
    for name in names:
        if name not in tables:
            raise InputError(f"No table is called {name!r}{nearest(name, tables)}; there are {', '.join(tables)}.")
    return {name: address for name, address in tables.items() if not names or name in names}


def cheapest_order(tables: Mapping[str, Collection[str]], jobs: Mapping[str, Job]) -> list[tuple[str, set[str]]]:
    """Return tables, each with its new jobs, in an order in which the next is always the cheapest to add.

    Args:
        tables: the addresses of the jobs that each needs.
    """
    left, done, order = dict(tables), set(), []
    while left:
        name = min(left, key=lambda table: (cost(set(left[table]) - done, jobs), cost(left[table], jobs), table))
        new = set(left.pop(name)) - done
        done |= new
        order.append((name, new))
    return order


def processors(jobs: Collection[Job]) -> float | None:
    """Return how many processors load images while a GPU computes, on average; None where loading was not measured."""
    seconds, loading = sum(job.seconds for job in jobs), sum(job.loading for job in jobs)
    return loading / seconds if seconds and loading else None


def cost(addresses: Iterable[str], jobs: Mapping[str, Job]) -> float:
    """Return the GPU seconds of some jobs."""
    return sum(jobs[address].seconds for address in sorted(addresses))


def plans(jobs: Collection[Job], gpus: int, tflops: float) -> list[Plan]:
    """Return the plan on every kind of GPU, of jobs whose seconds are those at a rate of `tflops`."""
    found = []
    for gpu in GPUS.values():
        here = [replace(job, seconds=job.seconds * tflops / gpu.tflops) for job in jobs]
        wall, each = best_wall_time(here, gpus, gpu.memory)
        found.append(Plan(gpu, sum(job.seconds for job in here) / 3600, wall / 3600, each, processors(here)))
    return found


def table_costs(
    known: Mapping[str, Stage],
    tables: Mapping[str, str],
    jobs: Mapping[str, Job],
    gpus: int,
    memory: float = math.inf,
) -> list[TableCost]:
    """Return the cost of every table, in the cheapest order."""
    needed = {name: ancestors(address, known) & set(jobs) for name, address in tables.items()}
    total, result = 0.0, []
    for name, new in cheapest_order(needed, jobs):
        own = [jobs[address] for address in sorted(needed[name])]
        total += cost(new, jobs)
        trained = {job.address for job in own if job.kind in ("train", "pretrain") and job.seconds}
        result.append(
            TableCost(
                name=name,
                alone=cost(needed[name], jobs) / 3600,
                more=cost(new, jobs) / 3600,
                total=total / 3600,
                trainings=len(trained),
                new_trainings=len(trained & new),
                wall=best_wall_time(own, gpus, memory)[0] / 3600,
                disk=sum(job.bytes for job in own) / GB,
                memory=max((job.memory for job in own if job.memory is not None), default=None),
                processors=processors(own),
            )
        )
    return result


def shared_jobs(
    known: Mapping[str, Stage], tables: Mapping[str, str], jobs: Mapping[str, Job]
) -> list[tuple[Job, list[str]]]:
    """Return the jobs that several tables need, with these tables, sorted by the hours that sharing saves."""
    users: dict[str, list[str]] = {}
    for name, address in tables.items():
        for needed in ancestors(address, known) & set(jobs):
            users.setdefault(needed, []).append(name)
    found = [(jobs[address], sorted(names)) for address, names in users.items() if len(names) > 1]
    return sorted(found, key=lambda item: (-item[0].seconds * (len(item[1]) - 1), item[0].address))
