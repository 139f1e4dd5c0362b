"""Estimate what tables will cost: `python -m pipeline.stages.plan --preset PRESET [--table NAME] [--gpus N]`.

The plan has the GPU-hours, wall time, memory and disk of every table and of all, in the cheapest order. It is written
to `reports/<preset>/plan.md` and `.csv`; with `--table` it is only printed.
"""

import argparse
from functools import cache

from pipeline import config, paths
from pipeline.cli import run
from pipeline.data.fetching.remote import choose, load_sources
from pipeline.errors import InputError
from pipeline.files import read_json, write_text
from pipeline.graph import declared
from pipeline.preset import ModelSize

TFLOPS = 9.5  # of a V100 in Detectron2's published training of Faster R-CNN R50-FPN, counted as here
BENCHMARKS = [paths.ROOT / f"reports/benchmarks/{device}_architectures.json" for device in ("gpu", "cpu")]


def main(options: argparse.Namespace) -> None:
    for name in ("gpus", "tflops", "memory"):
        if not 0 < getattr(options, name) < float("inf"):
            raise InputError(f"--{name} is {getattr(options, name)}, but must be above 0; correct it.")
    from pipeline.analysis import plan
    from pipeline.analysis.costs import Counted, median_tflops, peaks_from, rates_from
    from pipeline.reporting.plan_page import Setting, plan_csv, plan_page

    preset, known, counted = config.load_preset(options.preset), declared.stages(), Counted()
    tables = plan.table_stages(known, options.table or ())
    resolve = cache(lambda name: config.resolve(name, preset.name))
    full_size = preset.factor == 1 and preset.model == ModelSize()  # what the benchmark measures
    on_gpu, on_cpu = (read_json(path) if full_size and path.is_file() else None for path in BENCHMARKS)
    rates = rates_from(options.tflops, on_gpu)
    rates.peaks = peaks_from(on_gpu, on_cpu)
    if rates.measured:
        specs = [resolve(name) for name in config.experiments()]
        rates.tflops = median_tflops(specs, counted.of, rates) or rates.tflops
    jobs = plan.jobs_of(known, tables.values(), resolve, counted.of, rates)
    seconds, each = plan.best_wall_time(list(jobs.values()), options.gpus, options.memory)
    sources = load_sources()
    used = {resolve(paths.split_evaluation(job.name)[0]).experiment.dataset for job in jobs.values() if job.seconds}
    data = {
        name: sources[name].most_bytes / 1e9
        for name in choose([], preset, sources)
        if any(name.startswith(dataset) for dataset in used)
    }
    setting = Setting(
        preset=preset.name,
        title=preset.title,
        gpus=options.gpus,
        memory=options.memory,
        tflops=rates.tflops,
        measured_on=rates.gpu,
        data=data,
        wall_hours=seconds / 3600,
        gpus_a_job=each,
        chosen=options.table or (),
    )
    costs = plan.table_costs(known, tables, jobs, options.gpus, options.memory)
    page = plan_page(costs, list(jobs.values()), plan.shared_jobs(known, tables, jobs), setting)
    if options.table:
        print(page)
        return
    write_text(paths.plan(preset.name), page)
    write_text(paths.plan(preset.name, "csv"), plan_csv(costs))


def extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--table", action="append", metavar="NAME", help="plan this table only (may be repeated)")
    parser.add_argument("--gpus", type=int, default=8, help="GPUs at hand (default: 8, as the papers had)")
    parser.add_argument("--memory", type=float, default=80.0, help="GiB of each GPU (default: 80)")
    parser.add_argument("--tflops", type=float, default=TFLOPS, help=f"rate where nothing is measured ({TFLOPS})")


if __name__ == "__main__":
    run(main, __doc__, extend=extend)
