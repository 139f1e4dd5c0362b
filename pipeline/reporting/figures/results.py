"""Figures of what came out: learnt global scales, and gains by object size with their intervals."""

from pathlib import Path

from pipeline.reporting.combined import combined_lines
from pipeline.reporting.figures import plotting
from pipeline.reporting.figures.plotting import COLOURS, DIAMOND, GREY, rounded
from pipeline.verdicts.baselines import headline_tables
from pipeline.verdicts.comparison import headline_experiments
from pipeline.verdicts.results import Results, load_experiment
from pipeline.verdicts.rule import Word
from pipeline.verdicts.table_lines import Line, Method, methods_of, read_headlines

SIZES = {"ap": "all objects", "ap_small": "small objects", "ap_medium": "medium objects", "ap_large": "large objects"}
# what `draw_gain` draws
GAINS = "dot: ours, with 95 % interval (blue up, orange down, grey not decided); hollow diamond below: published"


def draw_scales(results: Results, path: Path) -> None:
    """Learnt global scale of each block, height and width, with its deviation over images; 1 is plain."""
    names = [name for name in headline_experiments() if load_experiment(name).method.global_scale]
    drawn, axes = plotting.figure(max(1, len(names)), 1, (8.5, 3.6 * max(1, len(names))))
    data = []
    for ax, name in zip(axes, names or [None], strict=True):
        scales = results.scales(name) if name else None
        if scales is None:
            plotting.say_empty(ax, "not run")
            continue
        layers = sorted(scales["layers"])
        ends = []
        for axis, word, colour, shift in (("h", "height", COLOURS[0], -0.06), ("w", "width", COLOURS[1], 0.06)):
            means = [scales["layers"][layer][f"mean_{axis}"] for layer in layers]
            spreads = [scales["layers"][layer][f"std_{axis}"] for layer in layers]
            places = [i + shift for i in range(len(layers))]
            ax.errorbar(places, means, yerr=spreads, color=colour, marker="o", markersize=4, capsize=3, linewidth=1.1)
            ends.append((places[-1], means[-1], word, colour))
            for layer, mean, spread in zip(layers, means, spreads, strict=True):
                line = {"experiment": name, "layer": layer, "direction": axis, "mean": rounded(mean)}
                data.append(line | {"std": rounded(spread), "images": scales["images"]})
        ax.hlines(1, -0.4, len(layers) - 0.9, color="black", linewidth=0.9, linestyle="--")
        ax.set_xticks(range(len(layers)), layers)
        ax.set_xlim(-0.4, len(layers) + 0.2)
        ends.append((ends[-1][0], 1.0, "1: plain convolution", "black"))
        ax.set_ylabel("learnt scale (times the plain dilation)")
        ax.set_xlabel("block of the backbone (layer2 = conv3_x)")
        ax.set_title(f"{name}: mean and deviation over {scales['images']:,} training images")
        plotting.label_ends(ax, [(x + 0.08, y, text, colour) for x, y, text, colour in ends])
    drawn.suptitle(f"POD: how far the learnt scales moved from 1, preset {results.name}", x=0.01, ha="left")
    plotting.save(drawn, path, ("experiment", "layer", "direction", "mean", "std", "images"), data)


def draw_ap_by_size(results: Results, path: Path) -> None:
    """Gain of each method over its baseline by object size: ours with its interval, and the published one."""
    combined = combined_lines(results)
    lines = [*read_headlines(results.name, headline_tables()), *combined]
    lines = [line for line in lines if line.compared and line.metric in SIZES]
    order = list(dict.fromkeys((line.evaluation, line.baseline) for line in lines))
    drawn, axes = plotting.figure(1, len(SIZES), (13.5, 1.5 + 0.42 * max(3, len(order))), sharex=True, sharey=True)
    for ax, (metric, title) in zip(axes, SIZES.items(), strict=True):
        chosen = [line for line in lines if line.metric == metric]
        ax.axvline(0, color="black", linewidth=0.9)
        for line in chosen:
            place = len(order) - order.index((line.evaluation, line.baseline))
            draw_gain(ax, line, place)
        ax.set_title(f"AP of {title}")
        ax.set_xlabel("gain over baseline (AP points)")
        ax.set_ylim(0.4, len(order) + 0.6)
        ax.grid(axis="y", visible=False)
        if not chosen:
            plotting.say_empty(ax, "not run")
    if order:
        methods = methods_of(results.name, headline_tables(), True)
        labels = {(item.evaluation, item.baseline): label_of(item) for item in methods}
        labels |= {(line.evaluation, line.baseline): line.method.replace(" (", "\n(") for line in combined}
        axes[0].set_yticks(range(len(order), 0, -1), [labels[key] for key in order])
    note = GAINS
    if lines and all(line.low is None for line in lines):
        note = "dot: ours, without interval (run-to-run noise not measured); hollow diamond below: published"
    elif any(line.low is None for line in lines):
        note += "; no bar: noise not measured"
    drawn.suptitle(f"Gain by object size, preset {results.name}\n{note}", x=0.01, ha="left", fontsize=9.5)
    fields = ("method", "evaluation", "baseline", "metric", "ours", "published_gain", "our_gain")
    fields += ("low", "high", "verdict")
    plotting.save(drawn, path, fields, [{key: line.text[key] for key in fields} for line in lines])


def label_of(method: Method) -> str:
    """Return a method's name, with the images that its weights saw where these are more than its baseline's."""
    longer = f", {method.costs['images_ratio']}x images" if method.longer else ""
    return f"{method.name}{longer}".replace(" (", "\n(")


def draw_gain(ax: plotting.Axes, line: Line, place: float) -> None:
    """Draw one comparison at a height: its gain with the interval, and the published one a little below."""
    if line.published_gain is not None:
        ax.plot(line.published_gain, place - 0.28, **DIAMOND)
    told = line.judged
    if told.gain is None or told.word == Word.UNDERTRAINED:
        ax.annotate(told.word, (0, place), xytext=(6, 0), textcoords="offset points", color=GREY, va="center")
        return
    colour = COLOURS[0] if told.up else COLOURS[1] if told.word.decided else GREY
    if told.low is not None:
        ax.plot([told.low, told.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
    ax.plot(told.gain, place, marker="o", markersize=6, color=colour)
