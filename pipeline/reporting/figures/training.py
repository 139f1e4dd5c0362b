"""Figures of what happened during training: losses, small-object loss shares and collages, valid objects of SNIP."""

from collections.abc import Iterable
from pathlib import Path

from pipeline import paths
from pipeline.published.papers import NAMES
from pipeline.reporting.figures import plotting
from pipeline.reporting.figures.plotting import COLOURS, GREY, missing_to_nan, rounded
from pipeline.verdicts.comparison import headline_experiments
from pipeline.verdicts.results import Results, load_experiment

SHORT = {"": "baseline", "single_scale": "single scale", "ms_train_600_1000": "multi-scale", "gsl": "GSL", "fd": "FD"}
SHORT |= {"fd_wt": "FD-WT", "dst": "DST", "msfm": "MSFM", "snip": "SNIP", "psconv": "PSConv"}


def short_name(experiment: str) -> str:
    """Return the method's part of an experiment's name: `baseline`, or `baseline 2x`, for one without any."""
    loaded = load_experiment(experiment)
    plain = type(loaded.method)() == loaded.method and not loaded.pyramid
    baseline = "baseline" if loaded.length == 1 else f"baseline {loaded.length:g}x"
    suffix = experiment.split("_1x", 1)[-1] if "_1x" in experiment else experiment.split("ep_", 1)[-1]
    suffix = suffix.strip("_")
    return SHORT.get(suffix, suffix.replace("_", "-")) if not plain or suffix in SHORT else baseline


def colours_of(experiments: list[str]) -> dict[str, str]:
    """Return a colour for each experiment of one paper: grey for the baseline, which is the first without a method."""
    names = [name for name in experiments if short_name(name) not in ("baseline", "single scale")]
    return {name: COLOURS[names.index(name) % len(COLOURS)] if name in names else GREY for name in experiments}


def means_over(results: Results, experiments: Iterable[str]) -> str:
    """Return what the lines of some trainings' histories are: `means over 8 trainings`, or of a single training."""
    found = filter(None, map(results.training, experiments))
    counts = sorted({len(one.get("blocks", [one])) for one in found}) or [1]
    if counts == [1]:
        return "one training each"
    return f"means over {' to '.join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))} trainings"


def draw_loss(results: Results, path: Path) -> None:
    """Training loss over optimiser steps, one panel a paper on one scale, one line an experiment."""
    drawn, axes = plotting.figure(2, 3, (10.5, 5.6))
    data, found = [], []
    for ax, paper in zip(axes, paths.PAPERS, strict=False):
        experiments = [name for name in headline_experiments() if paths.paper_of(name) == paper]
        ends = []
        for name, colour in colours_of(experiments).items():
            history = results.history(name)
            if not history:
                continue
            steps, losses = [row["step"] for row in history], missing_to_nan(row["loss"] for row in history)
            ax.plot(steps, losses, color=colour)
            ends.append((steps[-1], losses[-1], short_name(name), colour))
            data += [{"experiment": name, "step": int(r["step"]), "loss": rounded(r["loss"])} for r in history]
        ax.set_title(NAMES[paper])
        if not ends:
            plotting.say_empty(ax, "not run")
            continue
        found.append((ax, ends))
        ax.set_xlabel("optimiser step")
        ax.set_ylabel("training loss (sum of parts)")
        _room_right(ax)
    for ax, ends in found:
        ax.set_ylim(0, max(other.get_ylim()[1] for other, _ in found))
        plotting.label_ends(ax, ends)
    for ax in axes[len(paths.PAPERS) :]:
        ax.axis("off")
        ax.text(0, 0.9, "Each point is the mean of a window of steps.\n", va="top", color=GREY)
        text = "Lines of a panel can be compared; recipes\ndiffer between papers."
        ax.text(0, 0.75, text, va="top", color=GREY)
    said = means_over(results, headline_experiments())
    drawn.suptitle(f"Training loss by paper, preset {results.name}; {said}", x=0.01, ha="left")
    plotting.save(drawn, path, ("experiment", "step", "loss"), data)


def draw_collage(results: Results, path: Path) -> None:
    """Share of the regression loss that small objects carry, with DST's threshold, and the share of collage steps."""
    methods = [name for name in headline_experiments() if load_experiment(name).method.collage]
    papers = {paths.paper_of(name) for name in methods}
    bases = [n for n in headline_experiments() if paths.paper_of(n) in papers and short_name(n) == "baseline"]
    drawn, (above, below) = plotting.figure(2, 1, (8.5, 5.4), sharex=True)
    data, ends, collage_ends = [], [], []
    for name, colour in colours_of([*bases, *methods]).items():
        history = results.history(name)
        if not history:
            continue
        steps = [row["step"] for row in history]
        shares = missing_to_nan(row.get("small_share") for row in history)
        above.plot(steps, [100 * share for share in shares], color=colour)
        ends.append((steps[-1], 100 * _last(shares), short_name(name), colour))
        collages = [row.get("collage") for row in history]
        if any(value is not None for value in collages):
            below.plot(steps, [100 * share for share in missing_to_nan(collages)], color=colour)
            collage_ends.append((steps[-1], 100 * _last(missing_to_nan(collages)), short_name(name), colour))
        for row in history:
            line = {"experiment": name, "step": int(row["step"]), "small_share": rounded(row.get("small_share"))}
            data.append(line | {"collage": rounded(row.get("collage"))})
    if ends:
        threshold = 100 * load_experiment(methods[0]).method.collage.threshold
        above.hlines(threshold, 0, ends[0][0], color="black", linewidth=0.9, linestyle="--")
        above.set_ylim(bottom=0)
        _room_right(above, 0.2)
        ends.append((ends[0][0], threshold, f"threshold {threshold:g} %", "black"))
        plotting.label_ends(above, ends)
    else:
        plotting.say_empty(above, "not run")
    if collage_ends:
        below.set_ylim(0, 105)
        plotting.label_ends(below, collage_ends)
    else:
        plotting.say_empty(below, "not run, or no collage")
    above.set_title(
        "Box regression loss carried by small objects; after a step below the threshold, DST feeds a collage"
    )
    above.set_ylabel("% of the loss, window mean")
    below.set_title("Share of steps that trained on collages")
    below.set_ylabel("% of steps")
    below.set_xlabel("optimiser step")
    said = f"preset {results.name}; {means_over(results, [*bases, *methods])}"
    drawn.suptitle(f"DST: small objects' share of the loss, and collages, {said}", x=0.01, ha="left")
    plotting.save(drawn, path, ("experiment", "step", "small_share", "collage"), data)


def draw_valid_objects(results: Results, path: Path) -> None:
    """Share of the objects that SNIP trains on at each resolution."""
    names = [name for name in headline_experiments() if load_experiment(name).method.snip]
    drawn, (ax,) = plotting.figure(1, 1, (7.0, 2.6))
    data = []
    for name in names:
        levels = {str(level.short_side): level.head_range for level in load_experiment(name).pyramid}
        shares = valid_shares(results, name)
        for side in sorted(shares, key=int, reverse=True):
            low, high = levels.get(side, (0, None))
            pixels = round(int(side) * results.preset.factor)
            line = {"experiment": name, "resolution": int(side), "short_side_px": pixels}
            data.append(line | {"valid_from": low, "valid_to": high, "share": rounded(shares[side])})
    if data:
        places = range(len(data), 0, -1)
        ax.barh(places, [100 * row["share"] for row in data], color=COLOURS[0], height=0.6)
        for place, row in zip(places, data, strict=True):
            ax.annotate(
                f"{100 * row['share']:.1f} %", (100 * row["share"], place), xytext=(4, 0),
                textcoords="offset points", va="center",
            )  # fmt: skip
        ax.set_yticks(places, [_resolution_label(row) for row in data])
        ax.set_xlim(0, 108)
        ax.set_xlabel("% of objects that are valid; ranges on sqrt(w h) in COCO pixels")
        ax.grid(axis="y", visible=False)
    else:
        plotting.say_empty(ax, "not run")
    drawn.suptitle(f"SNIP: objects that train the head, by resolution, preset {results.name}", x=0.01, ha="left")
    fields = ("experiment", "resolution", "short_side_px", "valid_from", "valid_to", "share")
    plotting.save(drawn, path, fields, [{k: "" if v is None else v for k, v in row.items()} for row in data])


def valid_shares(results: Results, experiment: str) -> dict[str, float]:
    """Return the share of valid objects by resolution, over the windows in which SNIP was on.

    The schedule's first part trains on all objects; a history without later windows leaves the whole training's mean.
    """
    history = results.history(experiment)
    total = (results.training(experiment) or {}).get("steps") or max((row["step"] for row in history), default=0)
    start = load_experiment(experiment).method.snip.starts_after * total
    later = [row for before, row in zip([{"step": 0}, *history], history, strict=False) if before["step"] >= start]
    columns = sorted({key for row in later for key in row if key.startswith("valid_")})
    found = {column: [row[column] for row in later if row[column] is not None] for column in columns}
    shares = {column.removeprefix("valid_"): sum(values) / len(values) for column, values in found.items() if values}
    return shares or (results.training(experiment) or {}).get("valid_objects") or {}


def _resolution_label(row: dict[str, float | None]) -> str:
    low, high = row["valid_from"], row["valid_to"]
    valid = f"{low:g} px and more" if high is None else f"{low:g} to {high:g} px"
    return f"{row['resolution']} (here {row['short_side_px']} px)\nvalid: {valid}"


def _room_right(ax: plotting.Axes, share: float = 0.28) -> None:
    """Leave room for labels right of the lines."""
    low, high = ax.get_xlim()
    ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
    ax.set_xlim(low, high + share * (high - low))
    ax.set_xticks(ticks)


def _last(values: list[float]) -> float:
    return next((value for value in reversed(values) if value == value), 0.0)
