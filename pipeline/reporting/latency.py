"""What every method and combination costs in time, as a section of the methods' page; times belong to a machine."""

from functools import partial
from pathlib import Path

from pipeline import markdown as md
from pipeline import paths
from pipeline.files import read_json
from pipeline.verdicts import times
from pipeline.verdicts.methods import COMBINATIONS, METHODS, Pair

UP = "../.."  # from the page to the project's root
LAYERS = Path("reports/benchmarks/cpu_layers.json")
TIMED = {"psconv": "PSConv", "fd": "POD FD, FD-WT", "gsl": "POD GSL (while scales are learnt)"}


def latency_section() -> str:
    """Return two tables of times at the papers' size: whole detectors, then backbones alone."""
    return f"{detectors()}\n### Backbones alone\n\n{backbones()}"


def detectors() -> str:
    """Return the table of whole detectors, where their benchmark ran."""
    found = times.measured()
    if not found:
        return "Not measured: `python -m pipeline.benchmarks.detector_times` times whole detectors.\n"
    machine = found["machine"]
    columns = [
        md.Column("Method", lambda pair: pair.name),
        md.Column("Inference", partial(_ratio, "inference"), "r"),
        md.Column("Training step", partial(_ratio, "training"), "r"),
    ]
    place = f"reports/benchmarks/{found['prefix']}_detectors"
    text = f"Whole detectors at the papers' size on {times.PREFIXES[found['prefix']]} "
    text += f"({machine.get('gpu') or machine['cpu']}), timed in turns with the baseline: medians of one resolution. "
    text += "DST's training is timed by a benchmark of its own, loading included; a pyramid's steps and those of "
    text += f"combinations are not timed. [Page]({UP}/{place}.md), [data]({UP}/{place}.json).\n\n"
    return text + md.table(columns, (*METHODS, *(pair for pair, _ in COMBINATIONS)))


def _ratio(kind: str, pair: Pair) -> str:
    found = times.ratio(kind, *(paths.split_evaluation(name)[0] for name in (pair.evaluation, pair.baseline)))
    if found is None:
        return "not timed"
    ends = "" if found.low is None else f" ({found.low:.2f} to {found.high:.2f})"
    return md.times(found.value) + ends


def backbones() -> str:
    """Return the time of backbones over the plain one's, where the layers benchmark ran on a CPU."""
    if not LAYERS.is_file():
        return f"Not measured: `python -m pipeline.benchmarks.layers --device cpu` writes `{LAYERS.as_posix()}`.\n"
    found = read_json(LAYERS)
    rows = [
        row for row in found["rows"] if (row["group"], row["dtype"]) == ("network", "fp32") and row["name"] in TIMED
    ]
    text = f"At the papers' size on a CPU ({found['machine']['cpu']}, {found['machine']['threads']} thread), "
    text += f"timed in turns with the plain network. [Data]({UP}/{LAYERS.as_posix()}).\n\n"
    return text + md.table(BACKBONES, rows)


BACKBONES = (
    md.Column("Method", lambda row: TIMED[row["name"]]),
    md.Column("What", lambda row: {"forward": "inference", "train": "training step"}[row["mode"]]),
    md.Column("Input", lambda row: "{batch} x {height} x {width} px".format_map(row["case"])),
    md.Column("Median", lambda row: md.times(row["ratio"]["median"]), "r"),
    md.Column("Quartiles", lambda row: "{low:.2f}x to {high:.2f}x".format_map(row["ratio"]), "r"),
)
