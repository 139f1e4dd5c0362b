"""The page of the architectures benchmark, from its JSON alone."""

from __future__ import annotations

from typing import Any

from pipeline.benchmarks.pages.layers import machine_line
from pipeline.reporting.markdown import cell, number, plural, table

HEADER = [
    "experiment",
    "network",
    "input",
    "parameters, M",
    "training, {unit}",
    "GiB",
    "inference, {unit}",
    "GiB",
    "loss",
    "rows",
]


def architectures_page(result: dict[str, Any]) -> str:
    """Return the Markdown page of one device."""
    device = {"cpu": "a CPU", "cuda": "a GPU"}[result["device"]]
    rows = result["rows"]
    # Other work on a machine stretches a CPU's wall time and hardly the time that its cores spend on a process.
    clock, unit = {"cpu": ("core_seconds", "core s"), "cuda": ("seconds", "s")}[result["device"]]
    done, failed = ([row for row in rows if (key in row)] for key in ("found", "failure"))
    missing = result["networks"] - len(rows)
    older = sum(row["code"] != result["code"] for row in rows)
    parts = [
        f"# Every network on {device}\n",
        machine_line(result["machine"], {"memory_format": "channels_last"}) + "\n",
        f"One image of noise (classifiers: two) at the recipe's size, preset `{result['preset']}`, random weights, "
        f"{result['precision']}. A training step goes forward, back and through the optimiser; an inference keeps "
        "boxes of every score, so it also pays for heads that run on detections. Memory is the most that tensors hold "
        "at one time: weights, gradients, optimiser, activations and scratch space. One measurement each: times are an "
        "order of magnitude, not a comparison.\n",
        f"{len(done)} of {plural(result['networks'], 'distinct network')} ran with finite losses, {len(failed)} "
        f"failed, {missing} not run yet; {older} ran with an earlier state of the code (`--again` repeats those).\n",
    ]
    if failed:
        lines = [[f"`{row['experiment']}`", cell(row["failure"])] for row in failed]
        parts += ["## Failures\n", table(["experiment", "message"], lines, "ll")]
    for detector in dict.fromkeys(row["detector"] for row in done):
        lines = [line(row, clock) for row in done if row["detector"] == detector]
        parts += [f"## {detector}\n", table([name.format(unit=unit) for name in HEADER], lines, "lllrrrrrrr")]
    parts.append(f"Made by `python -m pipeline.benchmarks.architectures --device {result['device']}`.\n")
    return "\n".join(parts)


def line(row: dict[str, Any], clock: str) -> list[str]:
    """Return the cells of one network."""
    found = row["found"]
    training, inference = found["training"], found["inference"]
    return [
        f"`{row['experiment']}`",
        cell(network(row)),
        "x".join(str(side) for side in found["input"]),
        number(found["parameters"] / 1e6, 2),
        number(training[clock], 2),
        number((training["peak_mib"] + found["weights_mib"]) / 1024, 2),
        number(inference[clock], 2),
        number((inference["peak_mib"] + found["weights_mib"]) / 1024, 2),
        number(sum(training["losses"].values()), 2),
        str(len(row["experiments"])),
    ]


def network(row: dict[str, Any]) -> str:
    """Return backbone, neck, stem and a method's layers in words."""
    words = [row["backbone"]]
    words += [row["neck"]] if row["neck"] != "none" else []
    words += [row["stem"]] if row["stem"] != "standard" else []
    for name, value in (row["layers"] | {"region": row["region"], "rpn": row["rpn"]}).items():
        if isinstance(value, dict):
            words.append(f"{name} ({', '.join(f'{key} {text(option)}' for key, option in value.items())})")
        elif value is not None:
            words.append(name if value is True else f"{name} {text(value)}")
    return ", ".join(words)


def text(value: Any) -> str:
    """Return an option's value, lists with slashes."""
    return "/".join(text(part) for part in value) if isinstance(value, (list, tuple)) else str(value)
