"""The page of a benchmark of layers and networks, from its JSON alone."""

from __future__ import annotations

from typing import Any

from pipeline.reporting.markdown import NOT_RUN, number, percent, plural, table

NAMES = {
    "plain": "plain",
    "psconv": "PSConv",
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
    device = {"cpu": "a CPU", "cuda": "a GPU"}[result["device"]]
    parts = [
        f"# Layers and networks on {device}\n",
        machine_line(result["machine"], result["settings"]) + "\n",
        "Counterparts are timed in interleaved rounds. A ratio divides the times of one round by the plain "
        "counterpart's of the same round; cells show the median with the quartiles of all rounds. Forward is "
        "evaluation mode without gradients, backward goes to the input and all weights. Peak memory is what one call "
        "holds above its input and weights.\n",
    ]
    if result["settings"]["quick"]:
        parts.append("**A quick run: it shows that everything runs; its times are not results.**\n")
    parts += [*(f"{line}\n" for line in result["absent"]), "## Marks\n", marks_table(result["marks"])]
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


def machine_line(machine: dict[str, Any], settings: dict[str, Any]) -> str:
    """Return what the benchmark ran on, in one sentence or two."""
    gpu = ""
    if machine.get("gpu"):
        tf32 = "on" if machine["tf32"] else "off"
        gpu = f"{machine['gpu']}, CUDA {machine['cuda']}, cuDNN {machine['cudnn']}, TF32 {tf32} in fp32; "
    text = (
        f"{gpu}{machine['cpu']} ({machine['instructions']}), {plural(machine['threads'], 'thread')} on "
        f"{plural(machine['cores'], 'core')}, torch {machine['torch']}, {settings['memory_format']}."
    )
    load = machine.get("load_before")
    return text if load is None else f"{text} Load of the machine before the run: {load:.2f}."


def marks_table(marks: list[dict[str, Any]]) -> str:
    """Return one row a mark: its limit, the worst case and the verdict."""
    lines = []
    for mark in marks:
        worst = mark["worst"]
        found = [NOT_RUN, NOT_RUN, NOT_RUN]
        if worst:
            found = [number(mark["typical"], 2), f"{ratio_cell(worst['ratio'])} at {size_text(worst['case'])}"]
            found.append(f"{mark['cases_met']} of {mark['cases']}")
        lines.append([mark["mark"], f"{mark['limit']:g}", *found, f"**{mark['verdict']}**"])
    header = ["times the plain counterpart", "at most", "median of cases", "worst case", "cases met", "verdict"]
    return table(header, lines, "lrrlrl")


def profile_text(profile: dict[str, Any]) -> str:
    """Return why a mark is missed: what convolutions and all else cost, then the operators that take most."""
    (plain_name, plain), (name, found) = profile["shares"].items()
    own, reference = found["ms"] - found["convolution_ms"], plain["ms"] - plain["convolution_ms"]
    more_convolution = (found["convolution_ms"] - plain["convolution_ms"]) / plain["ms"]
    more_else = (own - reference) / plain["ms"]
    lines = [
        f"### Why: {profile['mark']}\n",
        f"Profile of the worst case, {size_text(profile['case'])}: {NAMES[name]} spends "
        f"{number(found['convolution_ms'], 2)} ms in convolutions and {number(own, 2)} ms in everything else, the "
        f"{NAMES[plain_name]} counterpart {number(plain['convolution_ms'], 2)} ms and {number(reference, 2)} ms. "
        f"In units of the plain time, its convolutions add {number(more_convolution, 2, sign=True)} and everything "
        f"else adds {number(more_else, 2, sign=True)}.\n",
    ]
    rows = [
        [NAMES[key], f"`{entry['name']}`", number(entry["calls"]), number(entry["ms"], 3), percent(entry["share"])]
        for key, shares in profile["shares"].items()
        for entry in shares["operators"]
    ]
    lines.append(table(["counterpart", "operator", "calls", "ms", "% of its time"], rows, "llrrr"))
    return "\n".join(lines)


def times_table(rows: list[dict[str, Any]]) -> str:
    """Return one line a size: the plain counterpart in ms, the others as ratios."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    lines = []
    for size, found in by_size(rows):
        plain = found[names[0]]
        ms = f"{number(plain['ms']['median'], 2)} ({number(plain['ms']['low'], 2)}–{number(plain['ms']['high'], 2)})"
        ratios = [ratio_cell(found[name]["ratio"]) for name in names[1:]]
        lines.append([size, ms, *ratios, str(plain["rounds"])])
    header = ["size", f"{NAMES[names[0]]}, ms", *(NAMES[name] for name in names[1:]), "rounds"]
    return table(header, lines, "l" + "r" * (len(header) - 1))


def memory_table(rows: list[dict[str, Any]]) -> str:
    """Return one line a size: peak memory of every counterpart in MiB."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    lines = [[size, *(number(found[name]["peak_mib"], 2) for name in names)] for size, found in by_size(rows)]
    return table(["size", *(NAMES[name] for name in names)], lines, "l" + "r" * len(names))


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


def ratio_cell(ratio: dict[str, float]) -> str:
    """Return `1.12 (1.10–1.15)`: median and quartiles."""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})"
