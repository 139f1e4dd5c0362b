"""One published table with our numbers in it: as Markdown to be read, and as CSV that pages and figures reuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pipeline import markdown as md
from pipeline import paths
from pipeline.files import write_text
from pipeline.published.columns import ERRORS, MASK, NAMES, RECALLS, name_of
from pipeline.published.rows import needs_test_dev
from pipeline.published.tables import Published, Row, Table, find_table
from pipeline.reporting.context import beside_table, heading, judged, spread_cell
from pipeline.reporting.scales_table import is_scales_table, scales_csv, scales_markdown
from pipeline.reporting.sources import left_out, sources_section, table_address
from pipeline.reporting.speeds_table import is_speeds_table, speeds_csv, speeds_markdown
from pipeline.reporting.table_csv import claim_lines, cost_lines, csv_rows, empty, plain_word
from pipeline.verdicts.claim_checks import CheckedClaim, check_claims
from pipeline.verdicts.comparison import Compared, Gain, compare, metrics_of
from pipeline.verdicts.estimates import spread
from pipeline.verdicts.lengths import unequal_lengths
from pipeline.verdicts.printed_costs import PrintedCost, costs_of
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import Word
from pipeline.verdicts.table_lines import FIELDS

SIZES = [f"{kind}ap_{size}" for kind in ("", MASK) for size in ("small", "medium", "large")]
SHOWN = ["map", *ERRORS, "ap", *SIZES[:3], f"{MASK}ap", *SIZES[3:], *RECALLS]
SIZES += RECALLS[3:]


def write_table(name: str, preset: str, headline: bool = False) -> None:
    """Write `tables/<name>.md` and `.csv` of a preset, or with the headline's rows alone `headline/<name>.*`.

    Rows without a result read `not run`, so a table can be written at any time. Raises InputError for an unknown table.
    """
    published, table = find_table(name, headline)
    results = Results(preset)
    if is_scales_table(table):
        rows, text = scales_csv(results, table), scales_markdown(results, published, table)
        rows += claim_lines(check_claims(results, published, table))
    elif is_speeds_table(table):
        rows, text = speeds_csv(results, table), speeds_markdown(results, published, table)
    else:
        compared, missing = compare(results, published, table)
        claims = check_claims(results, published, table)
        costs = costs_of(results, published, table, [item.row for item in compared])
        rows = csv_rows(results, table, compared, missing, claims, costs)
        text = table_markdown(results, published, table, compared, missing, claims, costs)
        text += sources_section(results, table.id, compared, table_address(table.id, headline))
    place = paths.headline if headline else paths.table
    write_text(place(preset, name, "csv"), md.csv_text(FIELDS, rows))
    write_text(place(preset, name), text)


def table_markdown(
    results: Results,
    published: Published,
    table: Table,
    compared: list[Compared],
    missing: list[Row],
    claims: list[CheckedClaim],
    costs: list[PrintedCost],
) -> str:
    """Return the page of one table: published beside ours, gains by object size, cost, claims, and the small print."""
    text = f"{heading(results, table)}{published.paper.title} ({published.paper.year}), {table.dataset} "
    text += f"{table.split}. Cells are `published → ours`, in percent"
    text += "; brackets are 95 % intervals of our gain.\n\n" if results.judges else ".\n\n"
    main = metrics_of(table)[0]
    columns = _columns(results, [metric for metric in SHOWN if metric in table.columns], main)
    text += md.table(judged(results, columns), compared)
    text += left_out(table.id, missing)
    methods = [item for item in compared if item.baseline]
    words = [item.gains[main].verdict.word for item in methods]
    text += "\n"
    text += decided_sentence(words, NAMES[main]) if results.judges else ""
    notes = beside_table(results, [item.evaluation for item in compared])
    notes += "".join(f"- {sentence}\n" for sentence in _stand_in_sentences(published, table, methods))
    notes += "".join(f"- {sentence}\n" for sentence in unequal_lengths(results, compared))
    if needs_test_dev(table.split):
        notes += "- Printed rows of test-dev, whose labels are not public: ours are of the validation images.\n"
    weak = {
        gain.verdict.sentence
        for item in methods
        for gain in item.gains.values()
        if gain.verdict.word == Word.UNDERTRAINED
    }
    notes += "".join(f"- {Word.UNDERTRAINED.capitalize()}: {sentence}\n" for sentence in sorted(weak))
    others = [c for c in table.columns if c not in NAMES]
    notes += f"- Printed but not compared here: {', '.join(others)}.\n" if others else ""
    text += notes
    sizes = [metric for metric in SIZES if metric in table.columns]
    if methods and sizes:
        then = ", then the verdict of that size alone" if results.judges else ""
        text += f"\n## By object size\n\nGain, `published → ours`{then}.\n\n"
        columns = [md.Column(NAMES[metric], partial(_size_cell, metric)) for metric in sizes]
        text += md.table([md.Column("Row", _name_cell), *columns], methods)
    text += _cost_section(results, methods, table)
    if costs:
        text += f"\n## Printed costs, at the papers' size\n\n{md.table(judged(results, COSTS), costs)}"
    if claims and results.judges:
        text += f"\n## Claims that these rows can check\n\n{md.table(CLAIMS, claims)}"
    return text


def decided_sentence(words: list[Word], metric: str) -> str:
    """Return how many compared rows that were run are decided, from the verdicts of all of them."""
    waiting = words.count(Word.NOT_RUN)
    if waiting == len(words) > 0:
        return f"**No compared row was run** (of {waiting}).\n\n"
    run = md.plural(len(words) - waiting, "compared row")
    rest = f"; {waiting} not run" if waiting else ""
    return f"**{sum(word.decided for word in words)} of {run} decided** (by {metric}){rest}.\n\n"


def _columns(results: Results, shown: list[str], main: str) -> list[md.Column]:
    """Return the columns of the table itself: the shown metrics, then the gain in the deciding one."""

    def value(metric: str, item: Compared) -> str:
        ours = md.NOT_RUN if item.metrics is None else md.percent(item.metrics.get(metric))
        return f"{md.as_printed(item.row.values.get(metric))} → {ours}"

    def of_gain(show: Callable[[Compared, Gain], str], item: Compared) -> str:
        return show(item, item.gains[main]) if main in item.gains else ""

    return [
        md.Column("Row", _name_cell),
        *(md.Column(NAMES[metric], partial(value, metric), "r") for metric in shown),
        md.Column("Published gain", partial(of_gain, lambda _, gain: md.as_printed(gain.published, sign=True)), "r"),
        md.Column("Our gain", partial(of_gain, lambda _, gain: _our_gain(gain)), "r"),
        md.Column("Blocks ±", lambda x: x.metrics and spread_cell(spread(results, x.evaluation, main)), "r"),
        md.Column("Verdict", lambda x: partial(of_gain, _word)(x) or plain_word(x)),
    ]


def _name_cell(item: Compared) -> str:
    return f"{item.row.name}<br>`{item.evaluation}`"  # papers print one label in several rows


def _size_cell(metric: str, item: Compared) -> str:
    gain = item.gains[metric]
    ours = _our_gain(gain)
    word = "" if gain.verdict.word in (ours, Word.NOT_JUDGED) else f", {gain.verdict.word}"
    return f"{md.as_printed(gain.published, sign=True)} → {ours}{word}"


def _our_gain(gain: Gain) -> str:
    if gain.ours is None:
        return md.NOT_RUN if gain.verdict.word == Word.NOT_RUN else md.MISSING
    return gain.judged.text


def _claim_ours(claim: CheckedClaim) -> str:
    if claim.gain.verdict.word == Word.UNCHECKABLE:
        return ""
    return _our_gain(claim.gain) if claim.unit == "percent" else empty(claim.gain.ours, 1, 2) or md.NOT_RUN


def _claim_printed(claim: CheckedClaim) -> str:
    bound = claim.check.bound.of(claim.gain.published)
    return bound.text() if bound else md.as_printed(claim.gain.published, sign=True)


def _claim_word(claim: CheckedClaim) -> str:
    verdict = claim.gain.verdict
    return f"{verdict.word}: {verdict.sentence}" if verdict.word == Word.UNCHECKABLE else verdict.word


CLAIMS = (
    md.Column("Claim", lambda claim: claim.statement),
    md.Column("Of", lambda claim: name_of(claim.metric)),
    md.Column("Printed", _claim_printed, "r"),
    md.Column("Ours", _claim_ours, "r"),
    md.Column("Verdict on this part of it", _claim_word),
)
COSTS = (  # printed parameters, multiply-adds and times beside ours
    md.Column("Row", lambda cost: cost.row.name),
    md.Column("What", lambda cost: name_of(cost.column)),
    md.Column("Published", lambda cost: md.MISSING if cost.published is None else f"{cost.published:g}", "r"),
    md.Column("Counted here", lambda cost: empty(cost.ours, digits=3), "r"),
    md.Column("Published, x baseline", lambda cost: md.times(cost.published_ratio), "r"),
    md.Column("Ours, x baseline", lambda cost: md.times(cost.our_ratio), "r"),
    md.Column("Verdict", lambda cost: cost.verdict.word),
)


def _cost_section(results: Results, methods: list[Compared], table: Table) -> str:
    """Return parameters and multiply-adds beside the baseline's, where they were measured."""
    found = [(item, {line["metric"]: line["ours"] for line in cost_lines(results, item)}) for item in methods]
    found = [(item, costs) for item, costs in found if "parameters_total_ratio" in costs]
    if not found:
        return ""
    columns = [md.Column("Row", lambda pair: _name_cell(pair[0]))]
    if "params_m" in table.columns:
        columns.append(md.Column("Published M", lambda pair: md.number(pair[0].row.values.get("params_m")), "r"))
    for header, metric in (("Parameters, M", "parameters_total"), ("Multiply-adds, G", "macs")):
        columns.append(md.Column(header, lambda pair, key=metric: pair[1].get(key, md.MISSING), "r"))
        columns.append(md.Column("x baseline", partial(_times, f"{metric}_ratio"), "r"))
    if any("images_ratio" in costs for _, costs in found):
        columns.append(md.Column("Images seen in training, x baseline", partial(_times, "images_ratio"), "r"))
    experiments = list(dict.fromkeys(item.experiment for item in methods))
    shape = next(size["input"] for size in map(results.size, experiments) if size)
    text = f"\n## Cost\n\nOne input of {shape[0]} x {shape[1]} px."
    assumed = [f"`{name}`" for name in experiments if (results.size(name) or {}).get("scales") == "assumed"]
    if assumed:
        text += f" Multiply-adds of {md.listing(assumed)} are with the printed scales, not with those learnt here."
    return f"{text}\n\n{md.table(columns, found)}"


def _times(metric: str, pair: tuple[Compared, dict[str, str]]) -> str:
    return f"{pair[1][metric]}x" if metric in pair[1] else md.MISSING


def _stand_in_sentences(published: Published, table: Table, methods: list[Compared]) -> list[str]:
    sentences = []
    for item in methods:
        if item.stand_in:
            printed, missing = published.baseline(table, item.row), "none is printed"
            if printed:
                names = printed[1].experiments or (f"{printed[1].name}, quoted from other work",)
                missing = f"the printed baseline ({names[-1]}) is not run here"
            sentences.append(
                f"{item.row.name}: {missing}; `{item.baseline}` stands in for it, so its gain can be `decided up` or "
                "`down`, not agree with the printed one."
            )
    return sentences


def _word(item: Compared, gain: Gain) -> str:
    word = f"{gain.verdict.word} (other baseline)" if item.stand_in else gain.verdict.word
    return f"{word}; {gain.verdict.size}" if gain.verdict.size else word
