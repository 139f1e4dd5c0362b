"""Time PSConv, FD and GSL against plain convolutions, side by side, and judge the marks.

`python -m pipeline.benchmarks.layers --device cpu --minutes 20` writes reports/benchmarks/cpu_layers.json and .md;
`--device cuda --minutes 8` does so for a GPU. `--quick` checks that everything runs: few sizes, into data/scratch.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

from pipeline.benchmarks.cases import Case, measure
from pipeline.benchmarks.command import FOLDER, command_line, prepare, run_command, write_report
from pipeline.benchmarks.counterparts import layer_cases
from pipeline.benchmarks.marks import MISSED, judge
from pipeline.benchmarks.pages.layers import benchmark_page
from pipeline.benchmarks.timing.profiles import operator_shares
from pipeline.layers import PSConv2d

MEMORY_FORMAT = "channels_last"
QUICK_FOLDER = Path("data/scratch/benchmarks")
SECONDS_A_QUICK_CASE = 0.2


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark, and write its JSON and page; return the JSON's content."""
    machine = prepare(options)
    cases, absent = all_cases(options)
    rows = run(cases, options)
    marks = judge(rows, options.device)
    result = {
        "device": options.device,
        "machine": machine,
        "settings": {
            "quick": options.quick,
            "minutes": None if options.quick else options.minutes,
            "memory_format": MEMORY_FORMAT,
        },
        "absent": absent,
        "marks": marks,
        "profiles": explain(cases, marks, options.device),
        "rows": rows,
    }
    folder = options.output or (QUICK_FOLDER if options.quick else FOLDER)
    return write_report(folder / f"{options.device}_layers.json", result, benchmark_page)


def all_cases(options: argparse.Namespace) -> tuple[list[Case], list[str]]:
    """Return all cases, and why some are missing: networks and ONNX Runtime need further packages."""
    memory_format = getattr(torch, MEMORY_FORMAT)
    cases, absent = list(layer_cases(options.device, options.quick, memory_format)), []
    try:
        from pipeline.benchmarks.networks import network_cases

        cases += network_cases(options.device, options.quick, memory_format)
        if options.device == "cpu":
            import onnx  # noqa: F401 (exporting a network would fail without it, but only then)

            from pipeline.benchmarks.onnx_runtime import onnx_cases

            cases += onnx_cases(options.quick)
    except ModuleNotFoundError as error:
        absent.append(f"Not run for want of the package {error.name}: networks that need it.")
    if options.device == "cpu" and not PSConv2d(64, 64).has_kernel(torch.device("cpu"), torch.float32):
        absent.append("Not run: PSConv's C++ kernel, which is not built here (`python -m pipeline.layers.native`).")
    return [case for case in cases if case.group in options.groups.split(",")], absent


def run(cases: list[Case], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every case; time that one does not use goes to those after it."""
    end = time.perf_counter() + 60 * options.minutes
    rows = []
    for index, case in enumerate(cases):
        left = max(0.0, end - time.perf_counter())
        share = left * case.weight / sum(later.weight for later in cases[index:])
        # Building, warming up and measuring memory cost about as much as a few rounds.
        found = measure(case, SECONDS_A_QUICK_CASE if options.quick else 0.7 * share, options.device)
        rows += found
        size = " ".join(f"{key} {value}" for key, value in case.size.items())
        told = ", ".join(f"{row['name']} {row['ratio']['median']:.2f}" for row in found[1:])
        print(f"{case.group} {case.dtype} {case.mode} {size}: {told}", file=sys.stderr, flush=True)
    return rows


def explain(cases: list[Case], marks: list[dict[str, Any]], device: str) -> list[dict[str, Any]]:
    """Profile the worst case of every missed mark, beside its plain counterpart."""
    profiles = []
    for mark in marks:
        if mark["verdict"] != MISSED:
            continue
        selects = mark["selects"]
        for case in cases:
            alike = (case.group, case.dtype, case.mode) == (selects["group"], selects["dtype"], selects["mode"])
            if alike and case.size == mark["worst"]["case"]:
                calls = case.calls()
                names = (next(iter(calls)), selects["name"])
                shares = {}
                for name in names:
                    own = getattr(calls[name], "shares", None)  # ONNX Runtime has a profiler of its own
                    shares[name] = own() if own else operator_shares(calls[name], device)
                profiles.append({"mark": mark["mark"], "case": case.size, "shares": shares})
    return profiles


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = command_line(__doc__, minutes=20.0, threads=0)
    found.add_argument("--quick", action="store_true", help=f"few small sizes in two minutes, into {QUICK_FOLDER}")
    found.add_argument("--groups", default="layer,network,onnx", help="which comparisons, by comma")
    return found


if __name__ == "__main__":
    run_command(main, parser())
