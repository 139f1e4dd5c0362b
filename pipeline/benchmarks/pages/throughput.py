"""The page of the throughput benchmark, from its JSON alone."""

from typing import Any

from pipeline.benchmarks.pages.parts import heading, spread
from pipeline.markdown import Column, number, percent, plural, table

NAMES = {"torchvision": "torchvision, plain loop", "ours": "ours"}


def throughput_page(result: dict[str, Any]) -> str:
    """Return the Markdown page of one device."""
    settings, ratio, speeds = result["settings"], result["ratio"], result["images_per_second"]
    verdict = "met" if ratio["median"] >= result["limit"] else "missed"
    columns = [
        Column("loop", NAMES.__getitem__),
        Column("images a second", lambda loop: number(speeds[loop]["median"], 3), "r"),
        Column("quartiles", lambda loop: "{low:.3f} to {high:.3f}".format_map(speeds[loop]), "r"),
    ]
    slowest = max(result["parts"]["ours"].items(), key=lambda part: part[1])
    whole = sum(result["parts"]["ours"].values())
    small = "both networks have the widths, depths and limits of this preset"
    return "\n".join(
        [
            heading("Training throughput", result, small, layout="channels_last in ours"),
            f"Faster R-CNN R50-FPN at preset `{result['preset']}` (short side 800, long side at most 1333 at the "
            f"papers' size), batch {settings['batch']}, {settings['precision']}, "
            f"{plural(settings['workers'], 'loading process', 'loading processes')} for each loop. torchvision's is "
            "its own model with its own transform in a plain loop; both decode the same JPEG files (640x480 pixels at "
            "the papers' size), train the same layers and read their losses every step. "
            f"{plural(settings['rounds'], 'round')} of {plural(settings['steps'], 'step')} in turn, medians with "
            "quartiles.\n",
            table(columns, speeds),
            f"Ours runs at {spread(ratio, mark='**')} times torchvision's speed; wanted is at least "
            f"{result['limit']:g}: **{verdict}**.\n",
            "## What limits it\n",
            f"{percent(slowest[1] / whole)} % of our step are its {slowest[0]} part. Seconds of a step by part, "
            "the device waited for after each:\n",
            parts_table(result["parts"]),
            *(operators(name, found) for name, found in result["operators"].items()),
            f"Made by `python -m pipeline.benchmarks.throughput --preset {result['preset']} "
            f"--device {result['device']}`.\n",
        ]
    )


def parts_table(parts: dict[str, dict[str, float]]) -> str:
    """Return the seconds of each part of a step in both loops."""
    columns = [Column(name, lambda loop, name=name: number(parts[loop][name], 3), "r") for name in parts["ours"]]
    return table([Column("loop", NAMES.__getitem__), *columns], parts)


def operators(name: str, found: dict[str, Any]) -> str:
    """Return the operators that take most of a step, by time of their own."""
    title = f"Operators of {NAMES[name]}, {number(found['ms'], 0)} ms a step:\n"
    return f"{title}\n{table(OPERATORS, found['operators'])}"


OPERATORS = (
    Column("operator", lambda one: f"`{one['name']}`"),
    Column("calls", lambda one: number(one["calls"], 0), "r"),
    Column("ms", lambda one: number(one["ms"], 1), "r"),
    Column("%", lambda one: percent(one["share"]), "r"),
)
