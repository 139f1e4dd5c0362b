"""Time PSConv, FD and GSL against plain convolutions, side by side, and judge the marks.

`python -m pipeline.benchmarks.layers --device cpu --minutes 20` writes reports/benchmarks/cpu_layers.json and .md;
`--device cuda --minutes 8` does so for a GPU. `--quick` checks that everything runs: few sizes, into data/scratch.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

from pipeline import files
from pipeline.benchmarks.cases import Case, measure
from pipeline.benchmarks.command import run_command
from pipeline.benchmarks.counterparts import layer_cases
from pipeline.benchmarks.marks import MISSED, judge
from pipeline.benchmarks.pages.layers import benchmark_page
from pipeline.benchmarks.timing.machine import describe
from pipeline.benchmarks.timing.profiles import operator_shares
from pipeline.benchmarks.timing.rounds import Call
from pipeline.errors import InputError

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
FOLDER, QUICK_FOLDER = Path("reports/benchmarks"), Path("data/scratch/benchmarks")
SECONDS_A_QUICK_CASE = 0.2


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark, and write its JSON and page; return the JSON's content."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device is cuda, but torch sees no GPU here; use --device cpu, or a machine with one.")
    if options.minutes <= 0:
        raise InputError(f"--minutes is {options.minutes}, but must be positive; 8 on a GPU, 20 on a CPU.")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True  # cuDNN's fastest algorithm for every counterpart
    machine = describe(options.device)
    cases, absent = all_cases(options)
    rows = run(cases, options)
    marks = judge(rows, options.device)
    result = {
        "device": options.device,
        "machine": machine,
        "settings": {
            "quick": options.quick,
            "minutes": None if options.quick else options.minutes,
            "memory_format": options.memory_format,
        },
        "absent": absent,
        "marks": marks,
        "profiles": explain(cases, marks, options.device),
        "rows": rows,
    }
    folder = options.output or (QUICK_FOLDER if options.quick else FOLDER)
    files.write_json(folder / f"{options.device}_layers.json", result)
    files.write_text(folder / f"{options.device}_layers.md", benchmark_page(result))
    return result


def all_cases(options: argparse.Namespace) -> tuple[list[Case], list[str]]:
    """Return all cases, and why some are missing: networks and ONNX Runtime need further packages."""
    memory_format = FORMATS[options.memory_format]
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
                shares = {name: where_time_goes(calls[name], device) for name in names}
                profiles.append({"mark": mark["mark"], "case": case.size, "shares": shares})
    return profiles


def where_time_goes(call: Call, device: str) -> dict[str, Any]:
    """Return the shares of a call's operators, from ONNX Runtime's own profiler for its calls."""
    own = getattr(call, "shares", None)
    return own() if own else operator_shares(call, device)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    found.add_argument("--minutes", type=float, default=20.0, help="wanted length of the whole run")
    found.add_argument("--quick", action="store_true", help="few small sizes, in less than two minutes")
    found.add_argument("--threads", type=int, default=0, help="threads on a CPU (default: torch's own choice)")
    found.add_argument("--memory-format", choices=tuple(FORMATS), default="channels_last")
    found.add_argument("--groups", default="layer,network,onnx", help="which comparisons, by comma")
    found.add_argument("--output", type=Path, help=f"folder (default: {FOLDER}; {QUICK_FOLDER} for --quick)")
    return found


if __name__ == "__main__":
    run_command(main, parser())
