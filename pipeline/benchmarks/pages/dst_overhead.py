"""The page of the benchmark of DST's cost, from its JSON alone."""

from __future__ import annotations

from typing import Any

from pipeline.benchmarks.pages.layers import machine_line
from pipeline.reporting.markdown import cell, number, percent, plural, table

NAMES = {"baseline": "without DST", "dst": "DST", "all_collage": "collages in every step"}
PARTS = {"step": "step only", "total": "step and loading"}
PAPER = 9.0 / 8.7  # hours of DST over the baseline's in table 2


def dst_overhead_page(result: dict[str, Any]) -> str:
    """Return the Markdown page of one device."""
    device = {"cpu": "a CPU", "cuda": "a GPU"}[result["device"]]
    settings, limit = result["settings"], result["limit"]
    found = result["ratios"]["dst"]["step"]["median"]
    loaded = result["ratios"]["dst"]["total"]["median"]
    small = "**Not at the papers' size: networks and images are those of this preset.**\n"
    where = (
        "in the training's own process, so it is on the critical path"
        if settings["workers"] == 0
        else f"in {plural(settings['workers'], 'process', 'processes')} of its own for each training and stream, so it "
        "is waited for only where these do not keep up"
    )
    kept = "stay decoded in memory" if settings["images_stay_decoded"] else "are decoded anew every time"
    shares = {name: percent(one["collage_share"], 0) for name, one in result["trainings"].items()}
    return "\n".join(
        [
            f"# What dynamic scale training costs on {device}\n",
            *([] if result["preset"] == "full" else [small]),
            machine_line(result["machine"], {"memory_format": "channels_last"}) + "\n",
            f"Three live trainings of Faster R-CNN R50-FPN at preset `{result['preset']}`, batch "
            f"{settings['batch']}, {settings['precision']}, learning rate {settings['learning_rate']:g}, in one "
            f"process: {plural(settings['rounds'], 'round')} of {plural(settings['block'], 'step')} of each in turn, "
            "in an order drawn anew. Ratios divide by the training without DST; brackets are "
            f"{percent(settings['level'], 0)} % intervals of a bootstrap over rounds. The median is that of a step; "
            "the mean decides how long a training takes.\n",
            f"Per step, DST's median is **{number(found['ratio'], 3)}** [{number(found['low'], 3)}, "
            f"{number(found['high'], 3)}] times the baseline's; wanted is at most {limit:g}: "
            f"**{verdict(found, limit)}**. With loading it is {number(loaded['ratio'], 3)} "
            f"[{number(loaded['low'], 3)}, {number(loaded['high'], 3)}]: {verdict(loaded, limit)}. "
            f"DST's feedback drew collages in {shares['dst']} % of these steps. "
            f"The paper's hours are {number(PAPER, 3)} times the baseline's.\n",
            ratios_table(result),
            "## Where the time goes\n",
            f"Loading happens {where}; images {kept}. A collage step decodes, resizes and flips four times as many "
            'images as a regular one and then makes the collages; "loading" is what the training waited for. '
            '"Step" is forward, backward and update, with the feedback in it. Medians in ms, with quartiles:\n',
            times_table(result),
            "Operators that a step with collages spends most more time in, ms a step (profiled, loading included). "
            "Those on boxes (`minimum`, `maximum`, `sub`, `clamp`) match anchors and proposals to four times as many "
            "objects:\n",
            operators_table(result["added"]),
            collage_line(result["collage"]),
            f"Made by `python -m pipeline.benchmarks.dst_overhead --preset {result['preset']} "
            f"--device {result['device']}`.\n",
        ]
    )


def verdict(found: dict[str, float], limit: float) -> str:
    """Return `met` or `missed`, and that one cannot tell where the interval holds the limit."""
    word = "met" if found["ratio"] <= limit else "missed"
    return f"{word}, but the interval includes {limit:g}" if found["low"] <= limit < found["high"] else word


def ratios_table(result: dict[str, Any]) -> str:
    """Return times over the baseline's: step only, and with loading."""
    rows = []
    for name, parts in result["ratios"].items():
        for part, kinds in parts.items():
            cells = [
                f"{number(one['ratio'], 3)} [{number(one['low'], 3)}, {number(one['high'], 3)}]"
                for one in (kinds["median"], kinds["mean"])
            ]
            share = percent(result["trainings"][name]["collage_share"], 0)
            rows.append([NAMES[name], share, PARTS[part], *cells])
    return table(["training", "collage steps, %", "time of", "median step", "mean step"], rows, "lrlrr")


def times_table(result: dict[str, Any]) -> str:
    """Return ms of regular and collage steps of each training."""
    rows = []
    for name, training in result["trainings"].items():
        for kind in ("regular", "collage"):
            if kind not in training["ms"]:
                continue
            cells = [
                f"{number(one['median'], 1)} ({number(one['low'], 1)} to {number(one['high'], 1)})"
                for one in (training["ms"][kind][part] for part in ("step", "data", "total"))
            ]
            rows.append([NAMES[name], kind, *cells])
    return table(["training", "steps", "step", "loading", "both"], rows, "llrrr")


def operators_table(added: list[dict[str, Any]]) -> str:
    """Return the operators that collages add most to."""
    rows = [[f"`{cell(one['name'])}`", *(number(one[key], 1) for key in ("without", "with", "added"))] for one in added]
    return table(["operator", "without", "with collages", "more"], rows, "lrrr")


def collage_line(collage: dict[str, Any]) -> str:
    """Return what one collage costs, against what is wanted."""
    height, width = collage["images"]
    word = "met" if collage["ms"]["median"] <= collage["limit"] else "missed"
    return (
        f"A collage of four images of {height}x{width} takes {number(collage['ms']['median'], 1)} ms "
        f"({number(collage['ms']['low'], 1)} to {number(collage['ms']['high'], 1)}, fastest "
        f"{number(collage['fastest_ms'], 1)}) on one core, the median of {collage['repeats']}; wanted is at most "
        f"{collage['limit']:g} ms: **{word}**.\n"
    )
