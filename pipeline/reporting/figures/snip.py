"""SNIP's figure 4 and table 3: classifiers over resolutions, and recall of proposals by object size.

Every function draws from results alone and returns False, writing nothing, where none of its results exists.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.reporting.figures import plotting
from pipeline.reporting.figures.plotting import COLOURS, DIAMOND, GREY, rounded
from pipeline.verdicts.claim_numbers import CNN_B, CNN_FT, CNN_S
from pipeline.verdicts.estimates import estimate_level
from pipeline.verdicts.results import Results
from pipeline.verdicts.table_lines import Line, read_table

RECALL_SIZES = {"recall50_0_25": "0-25 px", "recall50_25_50": "25-50 px", "recall50_50_100": "50-100 px"}


def draw_resolutions(results: Results, path: Path) -> bool:
    """SNIP, figure 4: accuracy of classifiers on images that were reduced first, by the side they were reduced to."""
    rows = []
    groups = {"CNN-B": {CNN_B}, "CNN-S": set(CNN_S.values()), "CNN-B-FT": set(CNN_FT.values())}
    for kind, names in groups.items():
        for name in sorted(names):
            for side, errors in ((results.training(name) or {}).get("resolutions") or {}).items():
                if errors.get("top1_error") is not None:
                    accuracy = rounded(100 * (1 - errors["top1_error"]), 2)
                    rows.append({"kind": kind, "experiment": name, "side": int(side), "top1_accuracy": accuracy})
    if not rows:
        return False
    drawn, (ax,) = plotting.figure(1, 1, (6.5, 3.8))
    for colour, kind in zip(COLOURS, groups, strict=False):
        own = sorted((row["side"], row["top1_accuracy"]) for row in rows if row["kind"] == kind)
        if own:
            ax.plot(*zip(*own, strict=True), color=colour, marker="o", ls="-" if kind == "CNN-B" else "", label=kind)
    ax.set_xlabel("side that test images are reduced to (papers' pixels)")
    ax.set_ylabel("top-1 accuracy, %")
    ax.legend()
    drawn.suptitle(f"SNIP, figure 4, preset {results.name}", x=0.01, ha="left", fontsize=9.5)
    plotting.save(drawn, path, ("kind", "experiment", "side", "top1_accuracy"), rows)
    return True


def draw_recall_by_size(results: Results, path: Path) -> bool:
    """SNIP, table 3: recall of proposals at an overlap of 50 % by object size, ours with intervals, and published."""
    lines = [line for line in read_table(results.name, "snip_t3") if line.kind == "row" and line.metric in RECALL_SIZES]
    if all(line.ours is None for line in lines):
        return False
    names = {line.row: line.label for line in lines}
    drawn, axes = plotting.figure(1, 3, (11.0, 1.6 + 0.45 * len(names)), sharex=True, sharey=True)
    cells = []
    for ax, (metric, title) in zip(axes, RECALL_SIZES.items(), strict=True):
        for line in (line for line in lines if line.metric == metric):
            low, high = interval(results, line)
            draw_level(ax, line, len(names) - list(names).index(line.row), low, high)
            texts = {key: line.text[key] for key in ("row", "evaluation", "metric", "published", "ours")}
            cells.append(texts | {"low": rounded(low, 1), "high": rounded(high, 1)})
        ax.set_title(f"objects of {title}")
        ax.set_xlim(0, 100)
        ax.set_xlabel("recall at 50 % overlap, %")
        ax.set_yticks(range(len(names), 0, -1), names.values())
        ax.set_ylim(0.4, len(names) + 0.6)
        ax.grid(axis="y", visible=False)
    note = "dot: ours, with 95 % interval where there are several trainings; hollow diamond below: published"
    drawn.suptitle(f"SNIP, table 3, preset {results.name}\n{note}", x=0.01, ha="left", fontsize=9.5)
    plotting.save(drawn, path, ("row", "evaluation", "metric", "published", "ours", "low", "high"), cells)
    return True


def interval(results: Results, line: Line) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a line's own number in percent; None where its noise is unknown."""
    found = estimate_level(results, line.evaluation, line.metric)
    return tuple(None if end is None else 100 * end for end in (found.interval() if found else (None, None)))


def draw_level(ax: plotting.Axes, line: Line, place: float, low: float | None, high: float | None) -> None:
    """Draw one number at a height with its interval, and the published one a little below."""
    if line.published is not None:
        ax.plot(line.published, place - 0.25, **DIAMOND)
    if line.ours is None:
        ax.annotate("not run", (0, place), xytext=(6, 0), textcoords="offset points", color=GREY, va="center")
        return
    if low is not None:
        ax.errorbar((low + high) / 2, place, xerr=(high - low) / 2, color=COLOURS[0], capsize=4)
    ax.plot(line.ours, place, marker="o", markersize=4, color=COLOURS[0])
