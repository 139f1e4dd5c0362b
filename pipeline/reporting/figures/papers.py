"""Figures of the papers that need more than the quickstart: POD 1, 3 and 6, MSFM's ablations, SNIP 4, recall by size.

Every function draws from results alone and returns False, writing nothing, where none of its results exists.
"""

from __future__ import annotations

from pathlib import Path

from pipeline import paths
from pipeline.layers.decomposition import decompose
from pipeline.published.tables import load_published
from pipeline.reporting.figures import plotting
from pipeline.reporting.figures.plotting import COLOURS, GREY, rounded
from pipeline.verdicts.claim_numbers import CNN_B, CNN_FT, CNN_S, GSL
from pipeline.verdicts.results import Results
from pipeline.verdicts.table_lines import Line, read_table

ABLATIONS = (*(f"msfm_t2_{part}" for part in ("scales", "ratios", "norm_group", "conv_num", "fusion")), "msfm_t3")
DIAMOND = {"marker": "D", "color": "white", "markeredgecolor": "black", "ls": ""}  # of printed numbers
EXAMPLE = (1.7, 2.9)  # height and width
RECALL_SIZES = {"recall50_0_25": "0-25 px", "recall50_25_50": "25-50 px", "recall50_50_100": "50-100 px"}


def draw_speeds(results: Results, path: Path) -> bool:
    """POD, figure 1: AP over the cost of an image; published in milliseconds, ours in multiply-adds."""
    published, rows = load_published("pod"), []
    times = {row.experiments[-1]: row.values.get("ms_per_image") for row in published.table("pod_t4").rows}
    for line in _rows_of(results, "pod_t5", "ap"):
        row, name = published.table("pod_t5").row(line.row), line.evaluation
        size = results.size(name)
        found = {"experiment": name, "detector": f"{row.factors['detector']} {row.factors['neck']}"}
        found["method"] = row.factors["method"]
        # table 4 times the 1x networks: the same ones
        found["published_ms"] = times.get(name) or times.get(name.replace("_2x", "_1x").replace("_wt", "")) or ""
        found["published_ap"] = line.text["published"]
        rows.append(found | {"macs_g": rounded(size["macs"] / 1e9) if size else "", "ap": line.text["ours"]})
    here = [row["detector"] for row in rows if row["ap"]]
    if len(here) == len(set(here)):  # one point of a detector compares nothing
        return False
    drawn, axes = plotting.figure(1, 2, (10.0, 3.8))
    for ax, x, y, title in (
        (axes[0], "published_ms", "published_ap", "published: ms an image"),
        (axes[1], "macs_g", "ap", f"preset {results.name}: multiply-adds of an image, G"),
    ):
        shown = [row for row in rows if row[x] != "" and row[y] != ""]
        for colour, detector in zip(COLOURS, dict.fromkeys(row["detector"] for row in rows), strict=False):
            of_detector = sorted((row for row in shown if row["detector"] == detector), key=lambda row: float(row[y]))
            for rank, row in enumerate(of_detector):
                marker = {"baseline": "o", "fd": "^", "fd_wt": "*"}.get(row["method"], "s")
                ax.plot(float(row[x]), float(row[y]), marker=marker, color=colour, markersize=8, linestyle="")
                ax.annotate(
                    f"{detector} {row['method']}", (float(row[x]), float(row[y])), xytext=(6, 6 * (rank - 1)),
                    textcoords="offset points", fontsize=7, color=colour, va="center",
                )  # fmt: skip
        ax.set_xlabel(title)
        ax.set_ylabel("AP")
        ax.margins(x=0.5, y=0.15)
        ax.set_xlim(left=max(0.0, ax.get_xlim()[0]))
        if not shown:
            plotting.say_empty(ax, "not run")
    drawn.suptitle("POD, figure 1: circle baseline, triangle FD, star FD-WT", x=0.01, ha="left", fontsize=9.5)
    plotting.save(drawn, path, list(rows[0]), rows)
    return True


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
    taps.set_xlabel("feature pixels from the centre")
    taps.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    channels.set_yticks([])
    channels.set_xlabel("output channels")
    drawn.suptitle(f"POD, figure 3: a 3x3 convolution of scale {EXAMPLE}, decomposed", x=0.01, ha="left", fontsize=9.5)
    plotting.save(drawn, path, list(rows[0]), rows)
    return True


def draw_learnt_scales(results: Results, path: Path) -> bool:
    """POD, figure 6: mean learnt scale of every layer, height and width, of all three detectors."""
    found = [(name, scales) for name in GSL if (scales := results.scales(name)) is not None]
    if not found:
        return False
    drawn, axes = plotting.figure(1, 2, (11.0, 3.8), sharey=True)
    rows = []
    for ax, axis, word in zip(axes, "hw", ("height", "width"), strict=True):
        layers = sorted(
            {layer for _, scales in found for layer in scales["layers"]},
            key=lambda layer: (layer.split(".")[0], int(layer.split(".")[1])),
        )
        for colour, (name, scales) in zip(COLOURS, found, strict=False):
            own = [layer for layer in layers if layer in scales["layers"]]
            means = [scales["layers"][layer][f"mean_{axis}"] for layer in own]
            ax.plot([layers.index(layer) for layer in own], means, color=colour, marker="o", markersize=4, label=name)
            for layer, mean in zip(own, means, strict=True):
                std = rounded(scales["layers"][layer][f"std_{axis}"])
                rows.append({"experiment": name, "layer": layer, "direction": axis, "mean": rounded(mean), "std": std})
        ax.axhline(1, color="black", linewidth=0.9, linestyle="--")
        ax.set_xticks(range(len(layers)), layers, rotation=60, fontsize=7.5)
        ax.set_title(word)
    axes[0].set_ylabel("mean learnt scale (1: plain)")
    axes[0].legend(fontsize=7)
    waiting = [name for name in GSL if name not in dict(found)]
    note = f"; not run: {', '.join(waiting)}" if waiting else ""
    drawn.suptitle(f"POD, figure 6: learnt scales, preset {results.name}{note}", x=0.01, ha="left", fontsize=9.5)
    plotting.save(drawn, path, ("experiment", "layer", "direction", "mean", "std"), rows)
    return True


def draw_ablations(results: Results, path: Path) -> bool:
    """MSFM, tables 2 and 3 as bars: gain in AP over the baseline, ours with its interval, published as a diamond."""
    tables = {name: [x for x in _rows_of(results, name, "ap") if x.compared] for name in ABLATIONS}
    if all(line.our_gain is None for own in tables.values() for line in own):
        return False
    drawn, axes = plotting.figure(2, 3, (12.0, 7.5))
    for ax, (name, own) in zip(axes, tables.items(), strict=True):
        for place, line in enumerate(own):
            if line.published_gain is not None:
                ax.plot(place, line.published_gain, **DIAMOND)
            if line.our_gain is not None:
                ax.bar(place, line.our_gain, color=COLOURS[0], width=0.6)
            if line.low is not None:
                ax.vlines(place, line.low, line.high, color=GREY)
        ax.axhline(0, color="black", linewidth=0.9)
        ax.set_xticks(range(len(own)), [line.row for line in own], rotation=60, ha="right", fontsize=6.5)
        ax.set_title(name)
        ax.set_ylabel("gain in AP, points")
    title = "MSFM's ablations: bar ours with 95 % interval, diamond published"
    drawn.suptitle(f"{title}, preset {results.name}", x=0.01, ha="left", fontsize=9.5)
    fields = ("table", "row", "evaluation", "published_gain", "our_gain", "low", "high", "verdict")
    rows = [{"table": name} | {k: line.text[k] for k in fields[1:]} for name, own in tables.items() for line in own]
    plotting.save(drawn, path, fields, rows)
    return True


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
    """SNIP, table 3 as bars: recall of proposals at an overlap of 50 % by object size, ours and published."""
    lines = [line for metric in RECALL_SIZES for line in _rows_of(results, "snip_t3", metric)]
    if all(line.ours is None for line in lines):
        return False
    names = list(dict.fromkeys(line.row for line in lines))
    drawn, axes = plotting.figure(1, 3, (11.0, 3.6), sharey=True)
    for ax, (metric, title) in zip(axes, RECALL_SIZES.items(), strict=True):
        for line in (line for line in lines if line.metric == metric):
            place = names.index(line.row)
            if line.ours is not None:
                bar = None if line.sd is None else 2 * line.sd
                ax.bar(place, line.ours, color=COLOURS[0], width=0.6, yerr=bar, ecolor=GREY)
            if line.published is not None:
                ax.plot(place, line.published, **DIAMOND)
        ax.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=7)
        ax.set_title(title)
        ax.set_ylim(0, 105)  # bars of noise know no bounds, shares do
    axes[0].set_ylabel("recall at 50 % overlap")
    noise = " with two deviations of equal trainings" if any(line.sd is not None for line in lines) else ""
    title = f"SNIP, table 3: bar ours{noise}, diamond published"
    drawn.suptitle(f"{title}, preset {results.name}", x=0.01, ha="left", fontsize=9.5)
    fields = ("row", "evaluation", "metric", "published", "ours", "sd")
    plotting.save(drawn, path, fields, [{key: line.text[key] for key in fields} for line in lines])
    return True


def _rows_of(results: Results, table: str, metric: str) -> list[Line]:
    return [line for line in read_table(results.name, table) if (line.kind, line.metric) == ("row", metric)]


def inputs(preset: str) -> list[Path]:
    """Return the results that these figures read."""
    found = [paths.table(preset, name, "csv") for name in ("pod_t5", *ABLATIONS, "snip_t3")]
    rows = load_published("pod").table("pod_t5").rows
    found += [paths.size(preset, name) for name in dict.fromkeys(row.experiments[-1] for row in rows if row.ours)]
    found += [paths.scales(preset, name) for name in GSL]
    return found + [paths.training_summary(preset, n) for n in (CNN_B, *CNN_S.values(), *CNN_FT.values())]
