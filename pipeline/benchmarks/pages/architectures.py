"""The page of the architectures benchmark, from its JSON alone."""

from functools import partial
from typing import Any

from pipeline.benchmarks.pages.parts import heading
from pipeline.markdown import Column, number, plural, table


def architectures_page(result: dict[str, Any]) -> str:
    """Return the Markdown page of one device."""
    rows = result["rows"]
    # Other work on a machine stretches a CPU's wall time and hardly the time that its cores spend on a process.
    clock, unit = {"cpu": ("core_seconds", "core s"), "cuda": ("seconds", "s")}[result["device"]]
    done, failed = ([row for row in rows if (key in row)] for key in ("found", "failure"))
    missing = result["networks"] - len(rows)
    older = sum(row["code"] != result["code"] for row in rows)
    parts = [
        heading("Every network", result),
        f"One image of noise (classifiers: two) at the recipe's size, preset `{result['preset']}`, random weights, "
        f"{result['precision']}. A training step goes forward, back and through the optimiser; an inference keeps "
        "boxes of every score, so it also pays for heads that run on detections. Memory is the most that tensors hold "
        "at one time: weights, gradients, optimiser, activations and scratch space. One measurement each: times are an "
        "order of magnitude, not a comparison.\n",
        f"{len(done)} of {plural(result['networks'], 'distinct network')} ran with finite losses, {len(failed)} "
        f"failed, {missing} not run yet; {older} ran with an earlier state of the code (`--again` repeats those).\n",
    ]
    if failed:
        parts += ["## Failures\n", table(FAILURES, failed)]
    columns = measured(clock, unit)
    for detector in dict.fromkeys(row["detector"] for row in done):
        parts += [f"## {detector}\n", table(columns, [row for row in done if row["detector"] == detector])]
    parts.append(f"Made by `python -m pipeline.benchmarks.architectures --device {result['device']}`.\n")
    return "\n".join(parts)


FAILURES = (Column("experiment", lambda row: f"`{row['experiment']}`"), Column("message", lambda row: row["failure"]))


def measured(clock: str, unit: str) -> list[Column]:
    """Return the columns of networks that ran; their times are read by one of the clocks."""

    def seconds(part: str, row: dict[str, Any]) -> str:
        return number(row["found"][part][clock], 2)

    def memory(part: str, row: dict[str, Any]) -> str:
        return number((row["found"][part]["peak_mib"] + row["found"]["weights_mib"]) / 1024, 2)

    return [
        Column("experiment", lambda row: f"`{row['experiment']}`"),
        Column("network", network),
        Column("input", lambda row: "x".join(str(side) for side in row["found"]["input"])),
        Column("parameters, M", lambda row: number(row["found"]["parameters"] / 1e6, 2), "r"),
        Column(f"training, {unit}", partial(seconds, "training"), "r"),
        Column("GiB", partial(memory, "training"), "r"),
        Column(f"inference, {unit}", partial(seconds, "inference"), "r"),
        Column("GiB", partial(memory, "inference"), "r"),
        Column("loss", lambda row: number(sum(row["found"]["training"]["losses"].values()), 2), "r"),
        Column("rows", lambda row: len(row["experiments"]), "r"),
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
