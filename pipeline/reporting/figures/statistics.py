"""Figures of a data set's scale statistics beside COCO's: shares, quantiles, and how relative scales are spread."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.markdown import statistic_name
from pipeline.published.coco_curve import curve
from pipeline.reporting.figures import plotting
from pipeline.reporting.figures.plotting import COLOURS, GREY

COCO = "COCO train2017"
FIELDS = ("kind", "split", "name", "from", "to", "achieved", "wanted", "tolerance")


def plot_statistics(stats: dict[str, Any], path: str | Path) -> None:
    """Draw `statistics.json`: wanted and achieved shares and quantiles, and the histogram of every split; data as CSV.

    Args:
        stats: {"splits": {name: statistics}, "comparison": [{name, wanted, tolerance, achieved, within}], ...}.
    """
    drawn, (shares, quantiles, histogram) = plotting.figure(
        1, 3, (12.0, 3.9), gridspec_kw={"width_ratios": [1.25, 0.9, 1.3]}
    )
    rows = stats.get("comparison", [])
    _compare(shares, [row for row in rows if "share" in row["name"]], 100, "share (%)")
    shares.set_title("Shares by size class")
    _compare(quantiles, [row for row in rows if "share" not in row["name"]], 1, "sqrt(box area / image area)")
    quantiles.set_xscale("log")
    quantiles.set_xlim(0.01, 1)
    quantiles.set_xticks([0.01, 0.03, 0.1, 0.3, 1], ["0.01", "0.03", "0.1", "0.3", "1"])
    quantiles.minorticks_off()
    quantiles.set_title("Relative box scale")
    _histogram(histogram, stats.get("splits", {}))
    drawn.suptitle("Scale statistics of the data: dot achieved, grey COCO's, with the tolerance", x=0.01, ha="left")
    plotting.save(drawn, Path(path), FIELDS, _lines(stats))


def _lines(stats: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is drawn, a line a dot or a bin: shares of objects, scales as sqrt(box area / image area)."""
    keys = ("name", "achieved", "wanted", "tolerance")
    about = {"kind": "comparison", "split": "train"}
    lines = [about | {key: row[key] for key in keys} for row in stats.get("comparison", [])]
    for name, (edges, shares) in _spread(stats.get("splits", {})).items():
        for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
            scales = {"from": f"{low:.5f}", "to": f"{high:.5f}"}
            lines.append({"kind": "histogram", "split": name, **scales, "achieved": round(share, 6)})
    return lines


def _spread(splits: dict[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """Return by split the edges of bins of relative scale and the share of objects in each; COCO's in the same bins."""
    found = {}
    for name, split in sorted(splits.items()):
        histogram = split["histogram_log2_relative_scale"]
        total = max(1, sum(histogram["counts"]))
        found[name] = ([2**edge for edge in histogram["edges"]], [count / total for count in histogram["counts"]])
    if found:
        edges = next(iter(found.values()))[0]
        below = np.interp(edges, *curve())
        below[0] = 0  # as in a split's own first bin, which also counts what is smaller
        found[COCO] = (edges, np.diff(below).tolist())
    return found


def _compare(ax: plotting.Axes, rows: list[dict[str, Any]], scale: float, unit: str) -> None:
    places = list(range(len(rows), 0, -1))
    for place, row in zip(places, rows, strict=True):
        wanted, tolerance = scale * row["wanted"], scale * row["tolerance"]
        ax.barh(place, 2 * tolerance, left=wanted - tolerance, height=0.5, color="#cfcfcf")
        if row["achieved"] is not None:
            value = scale * row["achieved"]
            colour = COLOURS[0] if row["within"] else COLOURS[1]
            ax.plot(value, place, "o", color=colour, markersize=6)
            text = f"{value:.1f}" if scale == 100 else f"{value:.3f}"
            ax.annotate(text, (value, place), xytext=(0, 8), textcoords="offset points", color=colour, ha="center")
    ax.set_yticks(places, [statistic_name(row["name"]) for row in rows])
    ax.set_ylim(0.4, len(rows) + 0.8)
    ax.set_xlabel(unit)
    if scale == 100:
        ax.set_xlim(0, 100)
    ax.grid(axis="y", visible=False)


def _histogram(ax: plotting.Axes, splits: dict[str, Any]) -> None:
    for number, (name, (edges, shares)) in enumerate(_spread(splits).items()):
        coco = name == COCO
        text = COCO if coco else "{}: {objects:,} objects, {images:,} images".format(name, **splits[name])
        style = {"color": GREY, "alpha": 0.4, "fill": True} if coco else {"color": COLOURS[number], "linewidth": 1.6}
        ax.stairs([100 * share for share in shares], edges, **style)
        place, colour = (0.02, 0.95 - 0.07 * number), style["color"]
        ax.annotate(text, place, xycoords="axes fraction", color=colour)
        ax.set_ylim(0, max(ax.get_ylim()[1], 135 * max(shares)))
    ax.set_xscale("log")
    ax.set_xlim(2**-8, 1)
    ticks = [0.004, 0.01, 0.03, 0.1, 0.3, 1]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("sqrt(box area / image area)")
    ax.set_ylabel("% of objects a half octave")
    ax.set_title("How relative box scales are spread")


def plot_relative_scales(scales: Mapping[str, np.ndarray], printed: Mapping[str, float], path: str | Path) -> None:
    """Draw the share of objects below each scale relative to the image (SNIP, figure 1), and write it as CSV.

    Args:
        scales: for each data set, sqrt(box area / image area) [n] of its objects.
        printed: the paper's quantiles, `q10`, `q50`, `q90`, drawn as points.
        path: of the PNG; the CSV lies beside it.
    """
    drawn, (ax,) = plotting.figure(1, 1, (6.2, 3.9))
    places = np.linspace(0, 1, 201)
    below = {
        name: np.searchsorted(np.sort(values), places, side="right") / max(1, len(values))
        for name, values in scales.items()
    }
    styles = zip(below.items(), (COLOURS[0], COLOURS[1]), ("-", "--"), strict=False)
    for number, ((name, shares), colour, style) in enumerate(styles):
        ax.plot(places, shares, style, color=colour)
        text = f"{name}: {len(scales[name]):,} objects"
        ax.annotate(text, (0.97, 0.32 - 0.07 * number), xycoords="axes fraction", color=colour, ha="right")
    for name, value in printed.items():
        ax.plot(value, int(name[1:]) / 100, "o", color=GREY, markersize=6)
        ax.annotate(f"{value:g}", (value, int(name[1:]) / 100), xytext=(8, -4), textcoords="offset points", color=GREY)
    ax.annotate("printed quantiles of COCO", (0.97, 0.11), xycoords="axes fraction", color=GREY, ha="right")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("scale relative to the image, sqrt(box area / image area)")
    ax.set_ylabel("share of objects below")
    ax.set_title("Scale of objects relative to their image")
    fields = ("relative_scale", *below)
    rows = [
        {"relative_scale": round(float(place), 3), **{name: round(float(s[i]), 5) for name, s in below.items()}}
        for i, place in enumerate(places)
    ]
    plotting.save(drawn, Path(path), fields, rows)
