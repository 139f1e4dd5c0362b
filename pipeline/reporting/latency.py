"""What every method and combination costs in time, as a section of the methods' page; times belong to a machine."""

from __future__ import annotations

from pathlib import Path

from pipeline import paths
from pipeline.files import read_json
from pipeline.reporting import markdown as md
from pipeline.reporting import times
from pipeline.reporting.methods import COMBINATIONS, METHODS, Pair

UP = "../.."  # from the page to the project's root
LAYERS = Path("reports/benchmarks/cpu_layers.json")
TIMED = {"psconv": "PSConv", "fd": "POD FD, FD-WT", "gsl": "POD GSL (while scales are learnt)"}


def latency_section() -> str:
    """Return the times of whole detectors over their baselines', then of backbones alone, both at the papers' size."""
    return f"{detectors()}\n### Backbones alone\n\n{backbones()}"


def detectors() -> str:
    """Return the table of whole detectors, where their benchmark ran."""
    found = times.measured()
    if not found:
        return "Not measured: `python -m pipeline.benchmarks.detector_times` times whole detectors.\n"
    machine, kinds = found["machine"], list(times.KINDS.values())
    rows = [
        [pair.name, *(_ratio(kind, pair) for kind in kinds)] for pair in (*METHODS, *(pair for pair, _ in COMBINATIONS))
    ]
    place = f"reports/benchmarks/{found['prefix']}_detectors"
    text = f"Whole detectors at the papers' size on {times.PREFIXES[found['prefix']]} "
    text += f"({machine.get('gpu') or machine['cpu']}), timed in turns with the baseline: medians of one resolution. "
    text += "DST's training is timed by a benchmark of its own, loading included; a pyramid's steps and those of "
    text += f"combinations are not timed. [Page]({UP}/{place}.md), [data]({UP}/{place}.json).\n\n"
    return text + md.table(["Method", "Inference", "Training step"], rows, "lrr")


def _ratio(kind: str, pair: Pair) -> str:
    found = times.ratio(kind, *(paths.split_evaluation(name)[0] for name in (pair.evaluation, pair.baseline)))
    if found is None:
        return "not timed"
    ends = "" if found.low is None else f" ({found.low:.2f} to {found.high:.2f})"
    return f"{found.value:.2f}x{ends}"


def backbones() -> str:
    """Return the time of backbones over the plain one's, where the layers benchmark ran on a CPU."""
    if not LAYERS.is_file():
        return f"Not measured: `python -m pipeline.benchmarks.layers --device cpu` writes `{LAYERS.as_posix()}`.\n"
    found = read_json(LAYERS)
    rows = []
    for row in found["rows"]:
        if (row["group"], row["dtype"]) == ("network", "fp32") and row["name"] in TIMED:
            case, ratio = row["case"], row["ratio"]
            what = {"forward": "inference", "train": "training step"}[row["mode"]]
            shape = f"{case['batch']} x {case['height']} x {case['width']} px"
            rows.append([TIMED[row["name"]], what, shape, f"{ratio['median']:.2f}x"])
            rows[-1].append(f"{ratio['low']:.2f}x to {ratio['high']:.2f}x")
    text = f"At the papers' size on a CPU ({found['machine']['cpu']}, {found['machine']['threads']} thread), "
    text += f"timed in turns with the plain network. [Data]({UP}/{LAYERS.as_posix()}).\n\n"
    return text + md.table(["Method", "What", "Input", "Median", "Quartiles"], rows, "lllrr")
