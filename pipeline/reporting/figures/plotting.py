"""How figures look and are saved: fixed style, colour-blind safe colours, the same bytes every time, data as CSV."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.files import replacing, write_text
from pipeline.markdown import csv_text

# Okabe and Ito's palette without its yellow, which is too light for lines; grey is for baselines
GREY = "#6b6b6b"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DIAMOND = {"marker": "D", "markersize": 5, "color": "white", "markeredgecolor": "black", "ls": ""}  # a printed number
STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
}


def figure(rows: int, columns: int, size: tuple[float, float], **options: object) -> tuple[Figure, list[Axes]]:
    """Return a figure in the house style and its axes, row by row; size in inches."""
    plt.rcdefaults()
    plt.rcParams.update(STYLE)
    drawn, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)
    return drawn, list(axes.flat)


def save(drawn: Figure, path: Path, fields: Sequence[str] = (), data: Iterable[dict[str, object]] = ()) -> None:
    """Write a PNG atomically, and its data as a CSV of the same name where there are fields."""
    with replacing(path) as temporary:
        drawn.savefig(temporary, format="png", metadata={"Software": None})
    plt.close(drawn)
    if fields:
        write_text(path.with_suffix(".csv"), csv_text(fields, data))


def say_empty(ax: Axes, text: str) -> None:
    """Write into an axis that it has no data, and why."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)


def label_ends(ax: Axes, ends: Sequence[tuple[float, float, str, str]], room: float = 0.0) -> None:
    """Write a label right of the end of each line, moved apart vertically where they would touch.

    Args:
        ends: (x, y, text, colour) of each line's last point, in data units; call it when the limits are final.
        room: share of the axis height that a label needs; 0 takes it from the font and the axis.
    """
    if not ends:
        return
    low, high = ax.get_ylim()
    inches = ax.get_position().height * ax.figure.get_figheight()
    step = (room or 0.17 / max(inches, 0.5)) * (high - low)
    order = sorted(range(len(ends)), key=lambda i: ends[i][1])
    heights: list[float] = []
    for i in order:
        y = min(max(ends[i][1], low), high)
        heights.append(y if not heights else max(y, heights[-1] + step))
    over = heights[-1] - high
    if over > 0:
        heights = [y - over for y in heights]
        for j in range(len(heights) - 2, -1, -1):
            heights[j] = min(heights[j], heights[j + 1] - step)
    for y, i in zip(heights, order, strict=True):
        x, _, text, colour = ends[i]
        ax.annotate(
            text, (x, y), xytext=(4, 0), textcoords="offset points", color=colour, va="center", annotation_clip=False
        )


def rounded(value: float | None, digits: int = 4) -> float | str:
    """Return a number for a CSV cell, empty where there is none."""
    return "" if value is None or math.isnan(value) else round(value, digits)


def missing_to_nan(values: Iterable[float | None]) -> list[float]:
    """Return the values with None as NaN, which matplotlib leaves out."""
    return [math.nan if value is None else value for value in values]
