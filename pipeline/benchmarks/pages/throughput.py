"""The page of the throughput benchmark, from its JSON alone."""

from __future__ import annotations

from typing import Any

from pipeline.benchmarks.pages.layers import machine_line
from pipeline.reporting.markdown import cell, number, percent, plural, table

NAMES = {"torchvision": "torchvision, plain loop", "ours": "ours"}


def throughput_page(result: dict[str, Any]) -> str:
    """Return the Markdown page of one device."""
    device = {"cpu": "a CPU", "cuda": "a GPU"}[result["device"]]
    settings, ratio = result["settings"], result["ratio"]
    verdict = "met" if ratio["median"] >= result["limit"] else "missed"
    speeds = [
        [NAMES[name], number(found["median"], 3), f"{number(found['low'], 3)} to {number(found['high'], 3)}"]
        for name, found in result["images_per_second"].items()
    ]
    slowest = max(result["parts"]["ours"].items(), key=lambda part: part[1])
    whole = sum(result["parts"]["ours"].values())
    small = "**Not at the papers' size: only our network is narrower here, so the ratio is no result.**\n"
    return "\n".join(
        [
            f"# Training throughput on {device}\n",
            *([] if result["preset"] == "full" else [small]),
            machine_line(result["machine"], {"memory_format": "channels_last in ours"}) + "\n",
            f"Faster R-CNN R50-FPN at preset `{result['preset']}` (short side 800, long side at most 1333 at the "
            f"papers' size), batch {settings['batch']}, {settings['precision']}, "
            f"{plural(settings['workers'], 'loading process', 'loading processes')} for each loop. torchvision's is "
            "its own model with its own transform in a plain loop; both decode the same JPEG files of 640x480 pixels, "
            f"train the same layers and read their losses every step. {plural(settings['rounds'], 'round')} of "
            f"{plural(settings['steps'], 'step')} in turn, medians with quartiles.\n",
            table(["loop", "images a second", "quartiles"], speeds, "lrr"),
            f"Ours runs at **{number(ratio['median'], 2)}** ({number(ratio['low'], 2)} to {number(ratio['high'], 2)}) "
            f"times torchvision's speed; wanted is at least {result['limit']:g}: **{verdict}**.\n",
            "## What limits it\n",
            f"{percent(slowest[1] / whole)} % of our step are its {slowest[0]} part. Seconds of a step by part, "
            "the device waited for after each:\n",
            parts_table(result["parts"]),
            *(operators(name, found) for name, found in result["operators"].items()),
            f"Made by `python -m pipeline.benchmarks.throughput --device {result['device']}`.\n",
        ]
    )


def parts_table(parts: dict[str, dict[str, float]]) -> str:
    """Return the seconds of each part of a step in both loops."""
    names = list(next(iter(parts.values())))
    lines = [[NAMES[loop], *(number(found[name], 3) for name in names)] for loop, found in parts.items()]
    return table(["loop", *names], lines, "l" + "r" * len(names))


def operators(name: str, found: dict[str, Any]) -> str:
    """Return the operators that take most of a step, by time of their own."""
    lines = [
        [f"`{cell(one['name'])}`", number(one["calls"], 0), number(one["ms"], 1), percent(one["share"])]
        for one in found["operators"]
    ]
    title = f"Operators of {NAMES[name]}, {number(found['ms'], 0)} ms a step:\n"
    return f"{title}\n{table(['operator', 'calls', 'ms', '%'], lines, 'lrrr')}"
