"""The page of a benchmark of layers and networks, from its JSON alone."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pipeline.benchmarks.pages.parts import DEVICES, machine_line, ratio_cell, spread
from pipeline.markdown import NOT_RUN, Column, number, percent, table

NAMES = {
    "plain": "plain",
    "psconv": "PSConv",
    "kernel": "PSConv, C++ kernel",
    "folded": "PSConv, folded",
    "dilated": "dilation 2",
    "groups_2": "2 groups",
    "groups_4": "4 groups",
    "three_branch": "official three branches",
    "masked_sum": "masked sum",
    "fd": "FD",
    "gsl": "GSL",
}
MODES = {"forward": "forward", "train": "forward and backward"}
GROUPS = {"layer": "3x3 layers", "network": "ResNet-50 networks", "onnx": "ResNet-50 networks in ONNX Runtime"}


def benchmark_page(result: dict[str, Any]) -> str:
    """Return the Markdown page of one device."""
    parts = [
        f"# Layers and networks on {DEVICES[result['device']]}\n",
        machine_line(result["machine"], result["settings"]["memory_format"]) + "\n",
        "Counterparts are timed in interleaved rounds. A ratio divides the times of one round by the plain "
        "counterpart's of the same round; cells show the median with the quartiles of all rounds. Forward is "
        "evaluation mode without gradients, backward goes to the input and all weights. Peak memory is what one call "
        "holds above its input and weights.\n",
    ]
    if result["settings"]["quick"]:
        parts.append("**A quick run: it shows that everything runs; its times are not results.**\n")
    parts += [*(f"{line}\n" for line in result["absent"]), "## Marks\n", table(MARKS, result["marks"])]
    for profile in result["profiles"]:
        parts.append(profile_text(profile))
    for group, dtype, mode in dict.fromkeys((row["group"], row["dtype"], row["mode"]) for row in result["rows"]):
        rows = [row for row in result["rows"] if (row["group"], row["dtype"], row["mode"]) == (group, dtype, mode)]
        parts += [f"## {GROUPS[group]}, {dtype}, {MODES[mode]}\n", times_table(rows)]
        if any(row["peak_mib"] is not None for row in rows):
            parts += ["Peak memory of one call in MiB:\n", memory_table(rows)]
    command = f"python -m pipeline.benchmarks.layers --device {result['device']}"
    parts.append(f"Made by `{command}`; docs/benchmarks.md says how it measures.\n")
    return "\n".join(parts)


def _of_worst(show: Callable[[dict[str, Any]], str], mark: dict[str, Any]) -> str:
    return show(mark) if mark["worst"] else NOT_RUN


def _worst_case(mark: dict[str, Any]) -> str:
    return f"{ratio_cell(mark['worst']['ratio'])} at {size_text(mark['worst']['case'])}"


MARKS = (
    Column("times the plain counterpart", lambda mark: mark["mark"]),
    Column("at most", lambda mark: f"{mark['limit']:g}", "r"),
    Column("median of cases", partial(_of_worst, lambda mark: number(mark["typical"], 2)), "r"),
    Column("worst case", partial(_of_worst, _worst_case)),
    Column("cases met", partial(_of_worst, lambda mark: f"{mark['cases_met']} of {mark['cases']}"), "r"),
    Column("verdict", lambda mark: f"**{mark['verdict']}**"),
)


def profile_text(profile: dict[str, Any]) -> str:
    """Return why a mark is missed: what convolutions and all else cost, then the operators that take most."""
    heading = f"### Why: {profile['mark']}\n"
    (plain_name, plain), (name, found) = profile["shares"].items()
    if not plain["ms"] or not found["ms"]:
        return f"{heading}\nThe profiler saw no kernels on this machine, so it is not known.\n"
    own, reference = found["ms"] - found["convolution_ms"], plain["ms"] - plain["convolution_ms"]
    more_convolution = (found["convolution_ms"] - plain["convolution_ms"]) / plain["ms"]
    more_else = (own - reference) / plain["ms"]
    lines = [
        heading,
        f"Profile of the worst case, {size_text(profile['case'])}: {NAMES[name]} spends "
        f"{number(found['convolution_ms'], 2)} ms in convolutions and {number(own, 2)} ms in everything else, the "
        f"{NAMES[plain_name]} counterpart {number(plain['convolution_ms'], 2)} ms and {number(reference, 2)} ms. "
        f"In units of the plain time, its convolutions add {number(more_convolution, 2, sign=True)} and everything "
        f"else adds {number(more_else, 2, sign=True)}.\n",
    ]
    entries = [(key, entry) for key, shares in profile["shares"].items() for entry in shares["operators"]]
    return "\n".join([*lines, table(OPERATORS, entries)])


OPERATORS = (  # of (counterpart, operator)
    Column("counterpart", lambda line: NAMES[line[0]]),
    Column("operator", lambda line: f"`{line[1]['name']}`"),
    Column("calls", lambda line: number(line[1]["calls"]), "r"),
    Column("ms", lambda line: number(line[1]["ms"], 3), "r"),
    Column("% of its time", lambda line: percent(line[1]["share"]), "r"),
)


def times_table(rows: list[dict[str, Any]]) -> str:
    """Return one line a size: the plain counterpart in ms, the others as ratios."""
    first, *others = dict.fromkeys(row["name"] for row in rows)
    columns = [
        Column("size", lambda line: line[0]),
        Column(f"{NAMES[first]}, ms", lambda line: spread(line[1][first]["ms"], 2, "–"), "r"),
        *(Column(NAMES[name], partial(_of, name, lambda row: ratio_cell(row["ratio"])), "r") for name in others),
        Column("rounds", lambda line: line[1][first]["rounds"], "r"),
    ]
    return table(columns, by_size(rows))


def memory_table(rows: list[dict[str, Any]]) -> str:
    """Return one line a size: peak memory of every counterpart in MiB."""
    names = dict.fromkeys(row["name"] for row in rows)
    columns = [Column(NAMES[name], partial(_of, name, lambda row: number(row["peak_mib"], 2)), "r") for name in names]
    return table([Column("size", lambda line: line[0]), *columns], by_size(rows))


def _of(name: str, show: Callable[[dict[str, Any]], str], line: tuple[str, dict[str, dict[str, Any]]]) -> str:
    return show(line[1][name]) if name in line[1] else ""  # not every way is there in every size and type


def by_size(rows: list[dict[str, Any]]) -> list[tuple[str, dict[str, dict[str, Any]]]]:
    """Return the rows of every size by name, sizes in their own order."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(size_text(row["case"]), {})[row["name"]] = row
    return list(found.items())


def size_text(case: dict[str, int]) -> str:
    """Return `128 channels, 28x28 px, batch 5`, or an image's size where there are no channels."""
    if "channels" in case:
        return f"{case['channels']} channels, {case['pixels']}x{case['pixels']} px, batch {case['batch']}"
    return f"{case['height']}x{case['width']} px, batch {case['batch']}"
