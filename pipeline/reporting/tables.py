"""One published table with our numbers in it: as Markdown to be read, and as CSV that pages and figures reuse."""

from __future__ import annotations

from typing import Any

from pipeline import paths
from pipeline.files import write_text
from pipeline.published.columns import ERRORS, MASK, NAMES, RECALLS, name_of, rules_of, sign_of
from pipeline.published.rows import needs_test_dev
from pipeline.published.tables import Published, Row, Table, find_table
from pipeline.reporting import markdown as md
from pipeline.reporting.context import beside_table, verdict_rule
from pipeline.reporting.printed_costs import PrintedCost, costs_of, describe
from pipeline.reporting.scales_table import is_scales_table, scales_csv, scales_markdown
from pipeline.reporting.sources import left_out, sources_section, table_address
from pipeline.reporting.speeds_table import is_speeds_table, speeds_csv, speeds_markdown
from pipeline.reporting.table_csv import FIELDS, claim_lines, cost_lines, csv_rows, empty, plain_word
from pipeline.verdicts.claim_checks import UNCHECKABLE, CheckedClaim, check_claims
from pipeline.verdicts.comparison import (
    APART,
    Compared,
    compare,
    further_gain,
    lacks_pretraining_noise,
    metrics_of,
)
from pipeline.verdicts.results import Results
from pipeline.verdicts.spreads import spread, spread_cell, spread_sentence

SIZES = [f"{kind}ap_{size}" for kind in ("", MASK) for size in ("small", "medium", "large")]
SHOWN = ["map", *ERRORS, "ap", *SIZES[:3], f"{MASK}ap", *SIZES[3:], *RECALLS]
SIZES += RECALLS[3:]


def write_table(name: str, preset: str, headline: bool = False) -> None:
    """Write `tables/<name>.md` and `.csv` of a preset, or with the quickstart's rows alone `headline/<name>.*`.

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
    text = f"# {table.id}: {table.title}\n\n{published.paper.title} ({published.paper.year}), {table.dataset} "
    text += f"{table.split}. Cells are `published → ours`, in percent; brackets are 95 % intervals of our gain.\n\n"
    shown = [metric for metric in SHOWN if metric in table.columns]
    header = ["Row", *(NAMES[metric] for metric in shown), "Published gain", "Our gain", "Seeds ±", "Verdict"]
    main = metrics_of(table)[0]
    lines = [_main_row(results, item, shown, main) for item in compared]
    text += md.table(header, lines, "l" + "r" * (len(shown) + 3) + "l")
    text += left_out(table.id, missing)
    methods = [item for item in compared if item.baseline]
    decided = sum(item.gains[main].verdict.decided for item in methods)
    text += f"\n**{decided} of {md.plural(len(methods), 'compared row')} decided** (by {NAMES[main]}).\n\n"
    notes = beside_table(results, [item.evaluation for item in compared])
    notes += "".join(f"- {sentence}\n" for sentence in _stand_in_sentences(published, table, methods))
    if needs_test_dev(table.split):
        notes += "- Printed rows of test-dev, whose labels are not public: ours are of the validation images.\n"
    notes += f"- {verdict_rule(results, [item.evaluation for item in compared])}\n"
    apart = [
        md.cell(item.row.name)
        for item in methods
        if lacks_pretraining_noise(results, item.evaluation, item.baseline, main)
    ]
    if apart:
        which = "All compared rows" if len(apart) == len(methods) else md.listing(apart)
        notes += f"- {which}: {APART} So nothing is decided.\n"
    notes += f"- {spread_sentence(main)}\n"
    notes += "".join(f"- {sentence}\n" for sentence in _seed_sentences(results, methods, main))
    notes += "".join(f"- {rule}\n" for rule in rules_of(table.columns))
    others = [c for c in table.columns if c not in NAMES]
    notes += f"- Printed but not compared here: {', '.join(others)}.\n" if others else ""
    text += notes
    sizes = [metric for metric in SIZES if metric in table.columns]
    if methods and sizes:
        text += "\n## By object size\n\nGain, `published → ours`, then the verdict of that size alone.\n\n"
        text += md.table(["Row", *(NAMES[m] for m in sizes)], [_size_row(item, sizes) for item in methods])
    text += _cost_section(results, methods, table) + _printed_section(costs)
    if claims:
        text += "\n## Claims that these rows can check\n\n"
        text += md.table(
            ["Claim", "Of", "Printed", "Ours", "Verdict"], [_claim_row(claim) for claim in claims], "llrrl"
        )
    return text


def _main_row(results: Results, item: Compared, shown: list[str], main: str) -> list[str]:
    cells = [_name_cell(item)]
    for metric in shown:
        ours = md.NOT_RUN if item.metrics is None else md.percent(item.metrics.get(metric))
        cells.append(f"{md.as_printed(item.row.values.get(metric))} → {ours}")
    gain = item.gains.get(main)
    seeds = spread_cell(spread(results, item.evaluation, main)) if item.metrics else ""
    if gain is None:
        return [*cells, "", "", seeds, plain_word(item)]
    return [*cells, md.as_printed(gain.published, sign=True), _our_gain(gain), seeds, _word(item, gain.verdict.word)]


def _name_cell(item: Compared) -> str:
    return f"{md.cell(item.row.name)}<br>`{item.evaluation}`"  # papers print one label in several rows


def _size_row(item: Compared, sizes: list[str]) -> list[str]:
    cells = [_name_cell(item)]
    for metric in sizes:
        gain = item.gains[metric]
        ours = _our_gain(gain)
        word = "" if gain.verdict.word == ours else f", {gain.verdict.word}"
        cells.append(f"{md.as_printed(gain.published, sign=True)} → {ours}{word}")
    return cells


def _our_gain(gain: Any) -> str:
    if gain.ours is None:
        return md.NOT_RUN if gain.verdict.word == md.NOT_RUN else md.MISSING
    low, high = gain.verdict.low, gain.verdict.high
    text = md.gain(100 * gain.ours, *(None if end is None else 100 * end for end in (low, high)))
    return text if gain.trainings == 1 else f"{text}, means of {gain.trainings}"


def _claim_row(claim: CheckedClaim) -> list[str]:
    printed = md.as_printed(claim.gain.published, sign=True)
    ours = _our_gain(claim.gain) if claim.unit == "percent" else empty(claim.gain.ours, 1, 2) or md.NOT_RUN
    word = claim.gain.verdict.word
    if word == UNCHECKABLE:
        ours, word = "", f"{word}: {claim.gain.verdict.sentence}"
    return [md.cell(claim.statement), name_of(claim.metric), printed, ours, word]


def _printed_section(costs: list[PrintedCost]) -> str:
    """Return printed parameters, multiply-adds and times beside ours."""
    if not costs:
        return ""
    header = ["Row", "What", "Published", "Counted here", "Published, x baseline", "Ours, x baseline", "Verdict"]
    rows = [[md.cell(cost.row.name), *describe(cost)] for cost in costs]
    return f"\n## Printed costs, at the papers' size\n\n{md.table(header, rows, 'llrrrrl')}"


def _cost_section(results: Results, methods: list[Compared], table: Table) -> str:
    """Return parameters and multiply-adds beside the baseline's, where they were measured."""
    rows = []
    for item in methods:
        lines = {line["metric"]: line for line in cost_lines(results, item)}
        if "parameters_total_ratio" not in lines:
            continue
        cells = [_name_cell(item)]
        if "params_m" in table.columns:
            cells.append(md.number(item.row.values.get("params_m")))
        for metric in ("parameters_total", "macs"):
            ratio = lines.get(f"{metric}_ratio", {}).get("ours")
            cells += [lines[metric]["ours"] if metric in lines else md.MISSING, f"{ratio}x" if ratio else md.MISSING]
        rows.append(cells)
    if not rows:
        return ""
    published = ["Published M"] if "params_m" in table.columns else []
    header = ["Row", *published, "Parameters, M", "x baseline", "Multiply-adds, G", "x baseline"]
    experiments = list(dict.fromkeys(item.experiment for item in methods))
    shape = next(size["input"] for size in map(results.size, experiments) if size)
    text = f"\n## Cost\n\nOne input of {shape[0]} x {shape[1]} px; `x baseline` of a test at several resolutions "
    text += "counts the pixels of all."
    assumed = [f"`{name}`" for name in experiments if (results.size(name) or {}).get("scales") == "assumed"]
    if assumed:
        text += f" Multiply-adds of {md.listing(assumed)} are with the printed scales, not with those learnt here."
    return text + "\n\n" + md.table(header, rows, "l" + "r" * len(header))


def _stand_in_sentences(published: Published, table: Table, methods: list[Compared]) -> list[str]:
    sentences = []
    for item in methods:
        if item.stand_in:
            printed = published.baseline(table, item.row)
            missing = f"the printed baseline ({_name(printed[1])}) is not run here" if printed else "none is printed"
            sentences.append(
                f"{item.row.name}: {missing}; `{item.baseline}` stands in for it, so its gain can be `decided up` or "
                "`down`, not agree with the printed one."
            )
    return sentences


def _seed_sentences(results: Results, methods: list[Compared], metric: str) -> list[str]:
    """Return what several trainings of a row and its baseline say, where somebody ran them."""
    sentences = []
    for item in methods:
        if item.gains[metric].trainings == 1:
            continue
        found = further_gain(results, item.evaluation, item.baseline, metric)
        own = ", each from a pre-training of its own" if found.pretrained else ""
        base, ours = (results.metrics(name)[metric] for name in (item.baseline, item.evaluation))
        apart = md.gain(100 * sign_of(metric) * (ours - base), None, None)
        sentences.append(
            f"{item.row.name}: the gain is between the means of {found.runs[1]} trainings of it ({NAMES[metric]} "
            f"{md.percent(found.ours)}) and {found.runs[0]} of its baseline ({md.percent(found.base)}){own} "
            f"(`seeds.md`); the cells show one training of each, {apart} apart."
        )
    return sentences


def _name(row: Row) -> str:
    return row.experiments[-1] if row.experiments else f"{row.name}, quoted from other work"


def _word(item: Compared, word: str) -> str:
    return f"{word} (other baseline)" if item.stand_in else word
