"""All methods side by side: gains by object size, cost, latency, and what their combinations add."""

from __future__ import annotations

from typing import Any

from pipeline import paths
from pipeline.files import write_text
from pipeline.published.columns import NAMES
from pipeline.reporting import markdown as md
from pipeline.reporting.context import comparability, numbers_of, one_rule
from pipeline.reporting.latency import latency_section
from pipeline.reporting.methods import (
    BASE,
    COMBINATIONS,
    LONGER,
    METHODS,
    METRICS,
    SINGLES,
    Compared,
    Pair,
    best_part,
    compare_pair,
)
from pipeline.verdicts.comparison import Gain, judge_gain
from pipeline.verdicts.results import Results, load_experiment

UP = "../.."  # from the page to the project's root
FIELDS = ("group", "method", "evaluation", "baseline", "metric", "ours", "gain", "low", "high", "verdict", "trainings")


def write_methods(preset: str) -> None:
    """Write `methods.md` and `methods.csv` of a preset."""
    results = Results(preset)
    own = [compare_pair(results, pair) for pair in METHODS]
    singles = [compare_pair(results, pair) for pair in SINGLES]
    joined = [(compare_pair(results, pair), parts) for pair, parts in COMBINATIONS]
    rows = [row for group, items in (
        ("own recipe", own), ("one recipe, single", singles), ("one recipe, combined", [item for item, _ in joined])
    ) for item in items for row in csv_rows(group, item)]  # fmt: skip
    write_text(paths.methods(preset).with_suffix(".csv"), md.csv_text(FIELDS, rows))
    write_text(paths.methods(preset), methods_page(results, own, singles, joined))


def methods_page(
    results: Results, own: list[Compared], singles: list[Compared], joined: list[tuple[Compared, tuple[str, ...]]]
) -> str:
    """Return the page."""
    text = f"# All methods side by side, preset {results.name}\n\n{numbers_of(results)} {comparability(results)} "
    text += "[Back](index.md), [data](methods.csv).\n\n## By object size\n\n"
    text += "Gain in points over the method's own baseline, trained by the same recipe, with its 95 % interval. "
    text += "**Bold**: the interval excludes zero.\n\n"
    text += gains_table(own) + f"\n{one_rule(results)}\n"
    text += f"\n## Cost\n\n{cost_section(results)}"
    text += f"\n## Latency\n\n{latency_section()}"
    text += "\n## Combinations\n\nNo paper joined its method with another's. These are trained by one recipe, "
    text += f"PSConv's, from each method's own init; gains are over `{BASE}`, those of FD-WT, which two "
    text += f"trainings stand behind, over `{LONGER}`, which is trained for twice as long. PSConv and POD's "
    text += "networks both replace the 3x3 convolutions, so they exclude each other; SNIP is another detector on "
    text += "given proposals, and is not joined.\n\n"
    text += gains_table([*singles, *(item for item, _ in joined)])
    text += "\n### Does a combination add to its best part?\n\n" + parts_table(results, singles, joined)
    return text + f"\n## Rebuild\n\n{commands(results)}"


def gains_table(items: list[Compared]) -> str:
    """Return the gains of some pairs by object size."""
    header = ["Method", "AP", *(f"{NAMES[metric]} gain" for metric in METRICS)]
    rows = []
    for item in items:
        means = f", means of {item.trainings} trainings" if item.trainings > 1 else ""
        cells = [_named(item.pair) + means, md.NOT_RUN if item.ap is None else md.percent(item.ap)]
        rows.append([*cells, *(gain_cell(item.gains[metric]) for metric in METRICS)])
    return md.table(header, rows, "lr" + "r" * len(METRICS))


def gain_cell(gain: Gain) -> str:
    """Return a gain in points with its interval, bold where decided; a word where there is none to show."""
    if gain.ours is None:
        return gain.verdict.word
    ends = (None if end is None else 100 * end for end in (gain.verdict.low, gain.verdict.high))
    text = md.gain(100 * gain.ours, *ends)
    if gain.verdict.decided:
        return f"**{text}**"
    return text if gain.verdict.word == "undecided" else f"{text}, {gain.verdict.word}"


def cost_section(results: Results) -> str:
    """Return size, multiply-adds and training of every method as multiples of its baseline's."""
    header = ["Method", "Parameters", "Multiply-adds", "Images seen in training", "Collage steps", "Also needed"]
    rows = []
    for pair in (*METHODS, *SINGLES[1:], *(pair for pair, _ in COMBINATIONS)):
        experiment, base = (paths.split_evaluation(name)[0] for name in (pair.evaluation, pair.baseline))
        size, other = results.size(experiment), results.size(base)
        training, before = results.training(experiment), results.training(base)
        cells = [ratio(size, other, "parameters_total"), ratio(size, other, "macs")]
        seen = f"{training['images_seen']:,}" if training and training.get("images_seen") else ""
        cells.append(" ".join(part for part in (seen, f"({ratio(training, before, 'images_seen')})") if seen))
        collages = (training or {}).get("collage_share")
        cells += ["" if collages is None else f"{md.percent(collages)} %", pair.extra or _extra(experiment)]
        rows.append([_named(pair), *cells])
    text = "Multiples of the baseline's network and training under this preset, one image at one resolution. "
    return text + "A test at three resolutions costs their pixels together.\n\n" + md.table(header, rows, "lrrrrl")


def parts_table(results: Results, singles: list[Compared], joined: list[tuple[Compared, tuple[str, ...]]]) -> str:
    """Return each combination's gain over the best of its single methods."""
    rows = []
    for item, parts in joined:
        best = best_part(singles, parts)
        if best is None or item.ap is None:
            rows.append([item.pair.name, md.NOT_RUN, *[""] * len(METRICS)])
            continue
        cells = [judge_gain(results, item.pair.evaluation, best.pair.evaluation, m, None) for m in METRICS]
        rows.append([item.pair.name, best.pair.name, *(gain_cell(gain) for gain in cells)])
    header = ["Combination", "Best part", *(f"{NAMES[metric]} over it" for metric in METRICS)]
    return md.table(header, rows, "ll" + "r" * len(METRICS))


def csv_rows(group: str, item: Compared) -> list[dict[str, Any]]:
    """Return a pair's gains, a line a metric, in points of 100."""
    about = {"group": group, "method": item.pair.name}
    about |= {"evaluation": item.pair.evaluation, "baseline": item.pair.baseline}
    rows = []
    for metric, gain in item.gains.items():
        ends = {"low": gain.verdict.low, "high": gain.verdict.high, "gain": gain.ours}
        numbers = {key: "" if value is None else md.percent(value) for key, value in ends.items()}
        ours = md.percent(item.ap) if metric == "ap" and item.ap is not None else ""
        told = {"verdict": gain.verdict.word, "trainings": gain.trainings}  # several: the gain is between means
        rows.append(about | {"metric": metric, "ours": ours, **numbers, **told})
    return rows


def ratio(ours: dict[str, Any] | None, base: dict[str, Any] | None, key: str) -> str:
    """Return one number over another as `1.07x`, empty where one is missing."""
    if not ours or not base or not ours.get(key) or not base.get(key):
        return ""
    return f"{ours[key] / base[key]:.2f}x"


def commands(results: Results) -> str:
    """Return the commands that make the page and train its combinations."""
    text = "```sh\ndvc repro methods    # this page and whatever it needs\n"
    name = COMBINATIONS[0][0].evaluation
    return text + f"snakemake --cores 2 {paths.metrics(results.name, name).as_posix()}    # one combination\n```\n"


def _named(pair: Pair) -> str:
    experiment = paths.split_evaluation(pair.evaluation)[0]
    return f"[{pair.name}]({UP}/{paths.experiment_file(experiment).as_posix()})"


def _extra(experiment: str) -> str:
    """Return what a combination's parts cost besides network and training."""
    method = load_experiment(experiment).method
    parts = ["the training that learns the scales"] if method.decomposed else []
    return ", ".join([*parts, "four images read for one collage"] if method.collage else parts)
