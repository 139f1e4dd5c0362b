"""DST's figures 1, 4, 5 and 6 from runs of a preset: longer training, thresholds, and each size's share of the loss."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from pipeline import paths
from pipeline.published.tables import find_table
from pipeline.reporting.figures import plotting
from pipeline.reporting.figures.plotting import COLOURS, GREY, missing_to_nan, rounded
from pipeline.reporting.figures.training import means_over
from pipeline.verdicts.estimates import spread
from pipeline.verdicts.results import Results, load_experiment

BASELINE, DST = "dst_frcnn_r50_fpn_1x", "dst_frcnn_r50_fpn_1x_dst"
# Thresholds: the baseline is the limit of 0, collages in every step that of 1; the file without a number has 0.3.
SWEEP = (BASELINE, f"{DST}_tau_sweep_005", DST, f"{DST}_tau_sweep_020", f"{DST}_tau_sweep")
SWEEP += (f"{DST}_tau_sweep_040", f"{DST}_tau_sweep_050", f"{DST}_all_collage")
BOTH = {BASELINE: "without DST", DST: "DST"}
SIZES = {"small": COLOURS[0], "medium": COLOURS[2], "large": COLOURS[1]}
METHODS = {"baseline": ("baseline", GREY), "ms_train": ("multi-scale", COLOURS[1]), "dst": ("DST", COLOURS[0])}
BINS = 20  # of the histogram of shares
BARS = 2  # deviations of equal trainings' AP, up and down


def draw_loss_share(results: Results, path: Path) -> None:
    """Share of the regression loss that each object size carries over the training, without and with DST (figure 5)."""
    drawn, axes = plotting.figure(1, 2, (10.0, 3.6), sharey=True)
    data = []
    for ax, (name, title) in zip(axes, BOTH.items(), strict=True):
        rows = [row for row in results.history(name) if row.get("small_share") is not None]
        ax.set_title(title)
        if not rows:
            plotting.say_empty(ax, "not run")
            continue
        steps = [row["step"] for row in rows]
        ends = []
        for size, colour in SIZES.items():
            shares = [100 * value for value in missing_to_nan(row.get(f"{size}_share") for row in rows)]
            ax.plot(steps, shares, color=colour)
            ends.append((steps[-1], shares[-1] if shares[-1] == shares[-1] else 0.0, size, colour))
        ax.set_ylim(0, 100)
        ax.set_xlim(0, 1.22 * steps[-1])
        ax.set_xlabel("optimiser step")
        plotting.label_ends(ax, ends)
        data += [
            {"experiment": name, "step": int(row["step"])}
            | {f"{size}_share": rounded(row.get(f"{size}_share")) for size in SIZES}
            for row in rows
        ]
    axes[0].set_ylabel("% of the regression loss, window mean")
    said = f"preset {results.name}; {means_over(results, BOTH)}"
    drawn.suptitle(f"DST: what each object size carries of the loss, {said}", x=0.01, ha="left")
    plotting.save(drawn, path, ("experiment", "step", *(f"{size}_share" for size in SIZES)), data)


def draw_loss_share_histogram(results: Results, path: Path) -> None:
    """How many steps had which small-object share of the regression loss, without and with DST (figure 6)."""
    drawn, axes = plotting.figure(1, 2, (10.0, 3.4), sharey=True)
    threshold = load_experiment(DST).method.collage.threshold
    data = []
    for ax, (name, title) in zip(axes, BOTH.items(), strict=True):
        counts = (results.training(name) or {}).get("small_share_histogram")
        ax.set_title(title)
        if not counts:
            plotting.say_empty(ax, "not run, or its steps were not counted")
            continue
        parts = binned(counts)
        places = [(place + 0.5) / BINS for place in range(BINS)]
        ax.bar(places, [100 * part for part in parts], width=0.9 / BINS, color=COLOURS[0] if name == DST else GREY)
        ax.axvline(threshold, color="black", linewidth=0.9, linestyle="--")
        below = sum(counts[: round(100 * threshold)]) / sum(counts)
        text, place = f"{100 * below:.0f} % of the steps below {threshold:g}", ("data", "axes fraction")
        ax.annotate(text, (threshold, 0.95), xycoords=place, xytext=(4, 0), textcoords="offset points", va="top")
        ax.set_xlim(0, 1)
        ax.set_xlabel("small objects' share of the regression loss")
        data += [
            {"experiment": name, "share_from": rounded(k / BINS), "share_to": rounded((k + 1) / BINS)}
            | {"steps": sum(counts[k * 100 // BINS : (k + 1) * 100 // BINS]), "part_of_steps": rounded(parts[k])}
            for k in range(BINS)
        ]
    axes[0].set_ylabel("% of the steps")
    said = f"preset {results.name}; {means_over(results, BOTH)}"
    drawn.suptitle(f"DST: small objects' share of the loss, step by step, {said}", x=0.01, ha="left")
    plotting.save(drawn, path, ("experiment", "share_from", "share_to", "steps", "part_of_steps"), data)


def binned(counts: list[int]) -> list[float]:
    """Return the parts of the steps in equal bins, from counts by hundredths."""
    total, width = sum(counts), 100 // BINS
    return [sum(counts[k * width : (k + 1) * width]) / total for k in range(BINS)]


def draw_training_length(results: Results, path: Path) -> None:
    """AP over training length for baseline, multi-scale training and DST: printed in table 5, and ours (figure 1)."""
    drawn, axes = plotting.figure(1, 2, (10.0, 3.6))
    rows = find_table("dst_t5")[1].rows
    data = []
    for row in rows:
        experiment = row.experiments[-1]
        ours = (results.metrics(experiment) or {}).get("ap")
        line = {"experiment": experiment, "method": row.factors["method"]}
        line |= {"length": load_experiment(experiment).length, "published": row.values["ap"]}
        line |= {"ours": None if ours is None else 100 * ours}
        data.append(line | {"run_sd": run_sd(results, experiment)})
    for ax, column, title in ((axes[0], "published", "published (COCO)"), (axes[1], "ours", "ours")):
        ends = []
        for method, (label, colour) in METHODS.items():
            line = [r for r in data if r["method"] == method and r[column] is not None]
            if line:
                ends.append((line[-1]["length"], line[-1][column], label, colour))
                bars = bars_of(line) if column == "ours" else None
                places = [[r[key] for r in line] for key in ("length", column)]
                ax.errorbar(*places, yerr=bars, color=colour, marker="o", markersize=4, elinewidth=1.0)
        ax.set_title(title)
        ax.set_xlabel("length of the training, multiples of 1x")
        if len({r["length"] for r in data if r[column] is not None}) < 2:
            ax.clear()
            ax.set_title(title)
            plotting.say_empty(ax, "only one length was run" if ends else "not run")
            continue
        ax.set_xlim(0.5, 7.6)
        ax.set_xticks(sorted({r["length"] for r in data}))
        plotting.label_ends(ax, ends)
        say_bars(ax, data if column == "ours" else [])
    axes[0].set_ylabel("AP")
    drawn.suptitle(f"DST: longer training, preset {results.name}; levels are not comparable", x=0.01, ha="left")
    fields = ("experiment", "method", "length", "published", "ours", "run_sd")
    cells = [
        line | {"published": rounded(line["published"], 1)} | {key: rounded(line[key]) for key in ("ours", "run_sd")}
        for line in data
    ]
    plotting.save(drawn, path, fields, cells)


def draw_thresholds(results: Results, path: Path) -> None:
    """AP over DST's threshold (figure 4); 0 is the baseline, 1 a collage in every step."""
    drawn, (ax,) = plotting.figure(1, 1, (7.0, 3.4))
    data = []
    for name, threshold in threshold_runs().items():
        ours = (results.metrics(name) or {}).get("ap")
        collages = (results.training(name) or {}).get("collage_share")
        line = {"experiment": name, "threshold": threshold, "ap": None if ours is None else 100 * ours}
        line |= {"run_sd": run_sd(results, name)}
        data.append(line | {"collage_share": 0.0 if name == BASELINE and ours is not None else collages})
    shown = [line for line in data if line["ap"] is not None]
    if len(shown) > 2:  # a line through two points would show a trend that is none
        places = [[r[key] for r in shown] for key in ("threshold", "ap")]
        ax.errorbar(*places, yerr=bars_of(shown), color=COLOURS[0], marker="o", markersize=5, elinewidth=1.0)
        say_bars(ax, shown)
        for line in shown:
            share = line["collage_share"]
            text = "" if share is None else f"{100 * share:.0f} % collages"
            ax.annotate(text, (line["threshold"], line["ap"]), xytext=(5, 6), textcoords="offset points", color=GREY)
        ax.set_xlim(-0.05, 1.2)
        ax.set_xlabel("threshold; 0: none (baseline), 1: a collage in every step")
        ax.set_ylabel("AP")
    else:
        plotting.say_empty(ax, f"{len(shown)} of {len(data)} trainings were run")
    drawn.suptitle(f"DST: AP over the threshold, preset {results.name}", x=0.01, ha="left")
    fields = ("ap", "collage_share", "run_sd")
    cells = [line | {key: rounded(line[key]) for key in fields} for line in data]
    plotting.save(drawn, path, ("experiment", "threshold", *fields), cells)


def run_sd(results: Results, experiment: str) -> float | None:
    """Return the deviation of one training's AP in points of 100, None of a single one."""
    deviation = spread(results, experiment, "ap").sd
    return None if deviation is None else 100 * deviation


def bars_of(lines: list[dict]) -> list[float]:
    """Return half a bar for every point, not a number where nobody measured the noise."""
    return [BARS * value for value in missing_to_nan(line["run_sd"] for line in lines)]


def say_bars(ax: Axes, lines: list[dict]) -> None:
    """Say what the bars are, where there are any."""
    if any(line["run_sd"] is not None for line in lines):
        text = f"bars: {BARS} deviations of equal trainings, up and down"
        ax.text(0.98, 0.03, text, transform=ax.transAxes, ha="right", color=GREY, fontsize=8)


def threshold_runs() -> dict[str, float]:
    """Return the trainings that differ from DST's own in the threshold alone, with their thresholds."""
    found = {}
    for name in SWEEP:
        collage = load_experiment(name).method.collage
        found[name] = 0.0 if collage is None else 1.0 if collage.feedback == "always" else collage.threshold
    return found


def draw_dst_figures(preset: str) -> None:
    """Write the figures that need more trainings than the headline's: longer training and thresholds."""
    results = Results(preset)
    draw_training_length(results, paths.figure(preset, "dst_training_length"))
    draw_thresholds(results, paths.figure(preset, "dst_threshold"))
