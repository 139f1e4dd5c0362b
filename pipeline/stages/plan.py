"""Estimate what tables will cost: `python -m pipeline.stages.plan --preset PRESET [--table NAME] [--gpu KIND]`.

The plan has the GPU-hours, wall time, memory and disk of every table and of all, in the cheapest order. It is written
to `reports/<preset>/plan.md` and `.csv`; what options ask for is only printed.
"""

import argparse
from functools import cache

from pipeline import config, paths
from pipeline.analysis.gpus import GPUS
from pipeline.cli import run
from pipeline.data.fetching.remote import choose, load_sources
from pipeline.errors import InputError
from pipeline.files import read_json, write_text
from pipeline.graph import declared
from pipeline.preset import ModelSize

BENCHMARKS = [f"reports/benchmarks/{name}.json" for name in ("gpu_architectures", "cpu_architectures", "cpu_loading")]

GPU, NUMBER = "a100", 8  # that the written plan is for


def main(options: argparse.Namespace) -> None:
    asked = {name: getattr(options, name) for name in ("gpus", "tflops", "memory")}
    for name, value in asked.items():
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"--{name} is {value}, but must be above 0; correct it.")
    from pipeline.analysis import plan
    from pipeline.analysis.costs import Counted, loading_from, median_tflops, peaks_from, rates_from
    from pipeline.reporting.plan_page import Setting, plan_csv, plan_page

    preset, known, counted = config.load_preset(options.preset), declared.stages(), Counted()
    tables = plan.table_stages(known, options.table or ())
    resolve = cache(lambda name: config.resolve(name, preset.name))
    full_size = preset.factor == 1 and preset.model == ModelSize()  # what the benchmark measures
    places = (paths.ROOT / name for name in BENCHMARKS)
    on_gpu, on_cpu, loading = (read_json(path) if full_size and path.is_file() else None for path in places)
    gpu, gpus = GPUS[options.gpu or GPU], options.gpus or NUMBER
    memory = options.memory or gpu.memory
    rates = rates_from(options.tflops or gpu.tflops, on_gpu)
    rates.peaks, rates.loading = peaks_from(on_gpu, on_cpu), loading_from(loading)
    if rates.measured:
        specs = [resolve(name) for name in config.experiments()]
        rates.tflops = median_tflops(specs, counted.of, rates) or rates.tflops
    jobs = plan.jobs_of(known, tables.values(), resolve, counted.of, rates)
    seconds, each = plan.best_wall_time(list(jobs.values()), gpus, memory)
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
        gpus=gpus,
        gpu=rates.gpu or (f"{rates.tflops:.3g} TFLOP/s each" if options.tflops else gpu.name),
        memory=memory,
        tflops=rates.tflops,
        measured_on=rates.gpu,
        data=data,
        wall_hours=seconds / 3600,
        gpus_a_job=each,
        chosen=options.table or (),
        kinds=plan.plans(list(jobs.values()), gpus, rates.tflops),
        loaded_on=loading["machine"]["cpu"] if loading else "",
    )
    costs = plan.table_costs(known, tables, jobs, gpus, memory)
    page = plan_page(costs, list(jobs.values()), plan.shared_jobs(known, tables, jobs), setting)
    if options.table or options.gpu or any(asked.values()):
        print(page)
        return
    write_text(paths.plan(preset.name), page)
    write_text(paths.plan(preset.name, "csv"), plan_csv(costs))


def extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--table", action="append", metavar="NAME", help="plan this table only (may be repeated)")
    parser.add_argument("--gpus", type=int, help=f"GPUs at hand (default: {NUMBER}, as the papers had)")
    parser.add_argument("--gpu", choices=GPUS, help=f"their kind, which says memory and rate (default: {GPU})")
    parser.add_argument("--memory", type=float, help="GiB of each GPU, of another kind")
    parser.add_argument("--tflops", type=float, help="rate of another kind where nothing is measured")


if __name__ == "__main__":
    run(main, __doc__, extend=extend)
