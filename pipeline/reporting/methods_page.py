"""All methods side by side: gains by object size, cost, latency, and what their combinations add."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pipeline import markdown as md
from pipeline import paths
from pipeline.files import write_text
from pipeline.published.columns import NAMES
from pipeline.reporting.combined import SNIP_OVER_MULTI_SCALE
from pipeline.reporting.context import numbers_of
from pipeline.reporting.latency import latency_section
from pipeline.verdicts import methods
from pipeline.verdicts.comparison import Gain, judge_gain
from pipeline.verdicts.lengths import times_images
from pipeline.verdicts.methods import COMBINATIONS, METHODS, METRICS, SINGLES, Compared, Pair, best_part, compare_pair
from pipeline.verdicts.results import Results, load_experiment
from pipeline.verdicts.rule import Word

OWN = (*METHODS, SNIP_OVER_MULTI_SCALE)
UP = "../.."  # from the page to the project's root
FIELDS = ("group", "method", "evaluation", "baseline", "metric", "ours", "gain", "low", "high", "verdict", "blocks")


def write_methods(preset: str) -> None:
    """Write `methods.md` and `methods.csv` of a preset."""
    results = Results(preset)
    own = [compare_pair(results, pair) for pair in OWN]
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
    text = f"# All methods side by side, preset {results.name}\n\n{numbers_of(results, '')} "
    text += "[Back](index.md), [data](methods.csv).\n\n## By object size\n\n"
    text += "Gain in points over the method's own baseline, with its 95 % interval. **Bold**: the interval "
    text += "excludes zero. How many times its baseline's images a training saw stands below, under cost.\n\n"
    text += gains_table(own)
    text += f"\n## Cost\n\n{cost_section(results)}"
    text += f"\n## Latency\n\n{latency_section()}"
    text += "\n## Combinations\n\nNo paper joined its method with another's. These are trained by one recipe, "
    text += f"PSConv's, from each method's own init; gains are over `{methods.BASE}`, those of FD-WT, which two "
    text += f"trainings stand behind, over `{methods.LONGER}`, which is trained for twice as long. PSConv and POD's "
    text += "networks both replace the 3x3 convolutions, so they exclude each other; SNIP is another detector on "
    text += "given proposals, and is not joined.\n\n"
    text += gains_table([*singles, *(item for item, _ in joined)])
    text += "\n### Does a combination add to its best part?\n\n" + parts_table(results, singles, joined)
    return text + f"\n## Rebuild\n\n{commands(results)}"


def gains_table(items: list[Compared]) -> str:
    """Return the gains of some pairs by object size."""

    columns = [
        md.Column("Method", lambda item: _named(item.pair)),
        md.Column("AP", lambda item: md.NOT_RUN if item.ap is None else md.percent(item.ap), "r"),
        md.Column("Blocks", lambda item: "" if item.ap is None else item.blocks, "r"),
        *(md.Column(f"{NAMES[m]} gain", lambda item, m=m: gain_cell(item.gains[m]), "r") for m in METRICS),
    ]
    return md.table(columns, items)


def gain_cell(gain: Gain) -> str:
    """Return a gain in points with its interval, bold where decided; a word where there is none to show."""
    told = gain.judged
    if gain.ours is None:
        return told.word
    if told.word.decided:
        return f"**{told.text}**"
    return told.text if told.word == Word.UNDECIDED else f"{told.text}, {told.word}"


def cost_section(results: Results) -> str:
    """Return size, multiply-adds and training of every method as multiples of its baseline's."""

    def both(read: Callable[[str], dict | None], pair: Pair) -> list[dict[str, Any]]:
        return [read(paths.split_evaluation(name)[0]) or {} for name in (pair.evaluation, pair.baseline)]

    def sized(key: str, pair: Pair) -> str:
        return ratio(*both(results.size, pair), key)

    def seen(pair: Pair) -> str:
        ours, base = (paths.split_evaluation(name)[0] for name in (pair.evaluation, pair.baseline))
        return md.times(times_images(results, ours, base))

    def collages(pair: Pair) -> str:
        share = both(results.training, pair)[0].get("collage_share")
        return "" if share is None else f"{md.percent(share)} %"

    columns = [
        md.Column("Method", _named),
        md.Column("Parameters", partial(sized, "parameters_total"), "r"),
        md.Column("Multiply-adds", partial(sized, "macs"), "r"),
        md.Column("Images seen in training", seen, "r"),
        md.Column("Collage steps", collages, "r"),
        md.Column("Also needed", lambda pair: pair.extra or _extra(paths.split_evaluation(pair.evaluation)[0])),
    ]
    text = "Multiples of the baseline's network and training under this preset, one image at one resolution. "
    text += "A test at three resolutions costs their pixels together.\n\n"
    return text + md.table(columns, (*OWN, *SINGLES[1:], *(pair for pair, _ in COMBINATIONS)))


def parts_table(results: Results, singles: list[Compared], joined: list[tuple[Compared, tuple[str, ...]]]) -> str:
    """Return each combination's gain over the best of its single methods."""

    def gain(metric: str, line: tuple[Pair, Pair | None, str]) -> str:
        pair, best, _ = line
        return gain_cell(judge_gain(results, pair.evaluation, best.evaluation, metric, None)) if best else ""

    lines = []
    for item, parts in joined:
        best = best_part(singles, parts) if item.ap is not None else None
        absent = [one.pair.name for one in singles if one.pair.name in parts and one.ap is None]
        why = f"{md.listing(absent)} alone not run in this recipe" if item.ap is not None else md.NOT_RUN
        lines.append((item.pair, best and best.pair, best.pair.name if best else why))
    columns = [
        md.Column("Combination", lambda line: line[0].name),
        md.Column("Best part", lambda line: line[2]),
        *(md.Column(f"{NAMES[metric]} over it", partial(gain, metric), "r") for metric in METRICS),
    ]
    return md.table(columns, lines)


def csv_rows(group: str, item: Compared) -> list[dict[str, Any]]:
    """Return a pair's gains, a line a metric, in points of 100."""
    about = {"group": group, "method": item.pair.name}
    about |= {"evaluation": item.pair.evaluation, "baseline": item.pair.baseline}
    rows = []
    for metric, gain in item.gains.items():
        numbers = {"gain": gain.ours, "low": gain.verdict.low, "high": gain.verdict.high}
        numbers["ours"] = item.ap if metric == "ap" else None
        cells = {key: "" if value is None else md.percent(value) for key, value in numbers.items()}
        told = {"verdict": gain.verdict.word, "blocks": gain.blocks}
        rows.append(about | {"metric": metric} | cells | told)
    return rows


def ratio(ours: dict[str, Any], base: dict[str, Any], key: str) -> str:
    """Return one number over another as `1.07x`, empty where one is missing."""
    return md.times(ours[key] / base[key]) if ours.get(key) and base.get(key) else ""


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
