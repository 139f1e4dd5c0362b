"""POD's figures 1, 3 and 6, published beside ours: what dilation costs and gains, a decomposition, learnt scales.

Every function draws from results alone and returns False, writing nothing, where none of its results exists.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.layers.decomposition import decompose
from pipeline.published.row_names import DETECTORS, NECKS
from pipeline.published.tables import Row, find_table, load_published
from pipeline.reporting.figures import plotting
from pipeline.reporting.figures.plotting import COLOURS, DIAMOND, GREY, rounded
from pipeline.reporting.scales_table import BLOCKS, DIRECTIONS
from pipeline.verdicts.claim_numbers import GSL
from pipeline.verdicts.results import Results
from pipeline.verdicts.table_lines import Line, read_table

EXAMPLE = (1.7, 2.9)  # height and width
METHODS = {"fd": ("FD", "^"), "fd_wt": ("FD-WT", "*")}
NEAR = 0.1  # smaller scales are drawn here, as the axis is logarithmic


def draw_speeds(results: Results, path: Path) -> bool:
    """POD, figure 1: gain in AP over cost, both beside the detector's own baseline; time is printed, ours counted."""
    table, lines = find_table("pod_t5")[1], read_table(results.name, "pod_t5")
    counted = {line.row: line.ours for line in lines if line.metric == "macs_ratio"}
    compared = [line for line in lines if line.metric == "ap" and line.compared]
    if all(line.our_gain is None for line in compared):
        return False
    panels: dict[str, list[tuple[Row, Line]]] = {}
    for line in compared:
        row = table.row(line.row)
        panels.setdefault(detector_of(row), []).append((row, line))
    drawn, axes = plotting.figure(1, len(panels), (11.5, 3.9), sharex=True, sharey=True)
    rows = []
    for ax, (detector, found) in zip(axes, panels.items(), strict=True):
        ax.set_title(detector)
        ax.axhline(0, color="black", linewidth=0.9)
        ax.axvline(1, color="black", linewidth=0.9, linestyle="--")
        for row, line in found:
            name, marker = METHODS[row.factors["method"]]
            time, macs = printed_time(line), counted.get(line.row)
            if time is None:
                ax.axhline(line.published_gain, color=GREY, linewidth=0.9, linestyle=":")
                x, side = (0.02, "left") if name == "FD" else (0.98, "right")  # their gains are nearly one
                ax.annotate(f"{name} published, no time", (x, line.published_gain), xycoords=("axes fraction", "data"),
                            xytext=(0, 2 if name == "FD" else -2), textcoords="offset points", color=GREY, fontsize=7.5,
                            ha=side, va="bottom" if name == "FD" else "top")  # fmt: skip
            else:
                ax.plot(time, line.published_gain, **DIAMOND)
                say(ax, f"{name} published", time, line.published_gain, "black")
            if line.our_gain is not None and macs is not None:
                if line.low is not None:
                    ax.vlines(macs, line.low, line.high, color=COLOURS[0])
                ax.plot(macs, line.our_gain, marker, color=COLOURS[0], markersize=8)
                say(ax, name, macs, line.our_gain, COLOURS[0])
            cells = {"detector": detector, "method": name} | {key: line.text[key] for key in ("evaluation", "baseline")}
            cells |= {"published_time_ratio": rounded(time), "macs_ratio": rounded(macs)}
            rows.append(cells | {key: line.text[key] for key in ("published_gain", "our_gain", "low", "high")})
        ax.set_xlabel("cost of an image, times the baseline's")
        ax.locator_params(axis="x", nbins=4)
        if absent := [METHODS[row.factors["method"]][0] for row, line in found if line.our_gain is None]:
            said = f"ours not run beside this: {', '.join(absent)}"
            ax.annotate(said, (0.98, 0.03), xycoords="axes fraction", ha="right", color=GREY)
    axes[0].set_ylabel("gain in AP over the baseline, points")
    axes[0].margins(x=0.6, y=0.15)
    note = "blue: ours with 95 % interval, over multiply-adds; hollow diamond: published, over milliseconds"
    drawn.suptitle(f"POD, figure 1, preset {results.name}: gain and cost\n{note}", x=0.01, ha="left", fontsize=9.5)
    plotting.save(drawn, path, list(rows[0]), rows)
    return True


def say(ax: plotting.Axes, text: str, x: float, y: float, colour: str) -> None:
    """Write a name beside a point."""
    ax.annotate(text, (x, y), xytext=(7, 0), textcoords="offset points", color=colour, va="center", fontsize=8)


def detector_of(row: Row) -> str:
    """Return a row's detector in words."""
    name = DETECTORS[row.factors["detector"]]
    return name if name == "RetinaNet" else f"{name} {NECKS[row.factors['neck']]}"


def printed_time(line: Line) -> float | None:
    """Return the printed time of an image over the baseline's; table 4 times the networks of 1x, which are the same."""
    times = {row.experiments[-1]: row.values["ms_per_image"] for row in load_published("pod").table("pod_t4").rows}
    both = [times.get(name.replace("_2x", "_1x").replace("_wt", "")) for name in (line.evaluation, line.baseline)]
    return None if None in both else both[0] / both[1]


def draw_decomposition(results: Results, path: Path) -> bool:
    """POD, figure 3: the taps of a scale of (1.7, 2.9) and of the two convolutions that stand for it; of no result."""
    drawn, (taps, channels) = plotting.figure(1, 2, (9.0, 3.6), width_ratios=(2, 1))
    parts = [(f"dilation {sub.dilation}", sub.dilation, sub.out_channels) for sub in decompose(*EXAMPLE, 100)]
    rows, start = [], 0
    for size, (name, (high, wide), share) in zip((11, 7, 7), (("learnt scale", EXAMPLE, 100), *parts), strict=True):
        colour = GREY if name == "learnt scale" else COLOURS[start > 0]
        places = [(i * high, j * wide) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        marker = "x" if name == "learnt scale" else "o"
        taps.plot(*zip(*((w, h) for h, w in places), strict=True), marker, color=colour, markersize=size, label=name)
        if name != "learnt scale":
            channels.barh(0, share, left=start, color=colour)
            channels.text(start + share / 2, 0, f"{share} %", ha="center", va="center", color="white")
            start += share
        rows.append({"part": name, "dilation_h": high, "dilation_w": wide, "output_channels_percent": share})
    taps.invert_yaxis()
    taps.set_aspect("equal")
    taps.set_xlabel("feature pixels from the centre, width")
    taps.set_ylabel("height")
    taps.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    channels.set_yticks([])
    channels.set_xlabel("output channels")
    drawn.suptitle(f"POD, figure 3: a 3x3 convolution of scale {EXAMPLE}, decomposed", x=0.01, ha="left", fontsize=9.5)
    plotting.save(drawn, path, list(rows[0]), rows)
    return True


def draw_learnt_scales(results: Results, path: Path) -> bool:
    """POD, figure 6: mean learnt scale of every block, height and width, beside those that table 3 prints."""
    if all(results.scales(name) is None for name in GSL):
        return False
    drawn, axes = plotting.figure(1, len(GSL), (12.0, 4.0), sharey=True)
    printed = [row for row in find_table("pod_t3")[1].rows if row.factors["split"] == "train"]
    rows = []
    for ax, name in zip(axes, GSL, strict=True):
        own = [row for row in printed if row.experiments[-1] == name]
        layers = (results.scales(name) or {"layers": {}})["layers"]
        ax.set_title(detector_of(own[0]) + ("" if layers else ": ours not run"))
        ax.axhline(1, color="black", linewidth=0.9, linestyle="--")
        for row in own:
            found = [*ours_of(layers, row.factors["direction"]), *printed_of(row)]
            draw_scales(ax, row.factors["direction"], found)
            rows += [{"experiment": name, "direction": row.factors["direction"]} | cells for cells in found]
        ends = [(2 * stage + last, f"conv{stage + 3}\n{word}") for stage in range(3) for last, word in
                enumerate(("first", "last"))]  # fmt: skip
        ax.set_xticks([place for place, _ in ends], [text for _, text in ends])
        ax.set_yscale("log")
        ax.minorticks_off()
    means = [max(NEAR, cells["mean"]) for cells in rows]
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10) if min(means) / 2 < tick < 2 * max(means)]
    axes[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0].set_ylim(min(means) / 1.3, max(means) * 1.3)
    axes[0].set_ylabel("learnt scale (1: plain convolution)")
    for number, word in enumerate(DIRECTIONS.values()):
        place = (0.02, 0.93 - 0.07 * number)
        axes[0].annotate(word, place, xycoords="axes fraction", color=COLOURS[number])
    note = "filled: ours, hollow: published; bars are deviations over training images"
    title = f"POD, figure 6, preset {results.name}: learnt scales by block"
    drawn.suptitle(f"{title}\n{note}", x=0.01, ha="left", fontsize=9.5)
    plotting.save(drawn, path, ("experiment", "direction", "whose", "layer", "place", "mean", "std"), rows)
    return True


def ours_of(layers: dict[str, dict[str, float]], axis: str) -> list[dict[str, object]]:
    """Return our scales along an axis; blocks of a stage lie evenly from its first place to its last."""
    blocks: dict[int, list[str]] = {}
    for layer in sorted(layers, key=lambda layer: int(layer.split(".")[1])):
        blocks.setdefault(int(layer[len("layer")]) - 2, []).append(layer)
    return [
        {"whose": "ours", "layer": layer, "place": round(2 * stage + number / max(1, len(names) - 1), 3)}
        | {"mean": rounded(layers[layer][f"mean_{axis}"]), "std": rounded(layers[layer][f"std_{axis}"])}
        for stage, names in sorted(blocks.items())
        for number, layer in enumerate(names)
    ]


def printed_of(row: Row) -> list[dict[str, object]]:
    """Return the scales of a printed row: of the first and the last block of each stage."""
    return [
        {"whose": "published", "layer": block.removeprefix("scale_"), "place": float(place)}
        | {"mean": row.values[block], "std": row.values[f"{block}_std"]}
        for place, block in enumerate(BLOCKS)
    ]


def draw_scales(ax: plotting.Axes, axis: str, found: list[dict]) -> None:
    """Draw the scales of one direction, ours joined by a line, the two directions a little apart."""
    number = list(DIRECTIONS).index(axis)
    for whose in ("ours", "published"):
        own = [cells for cells in found if cells["whose"] == whose]
        style = {"color": COLOURS[number], "linewidth": 1.1, "markersize": 5, "capsize": 2}
        if whose == "published":
            style |= {"marker": "D", "markerfacecolor": "white", "linestyle": ""}
        else:
            style |= {"marker": "o"}
        places = [cells["place"] + 0.16 * (number - 0.5) for cells in own]
        ax.errorbar(places, [max(NEAR, c["mean"]) for c in own], yerr=[c["std"] for c in own], **style)
