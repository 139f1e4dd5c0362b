"""One published table with our numbers in it: as Markdown to be read, and as CSV that pages and figures reuse."""

from __future__ import annotations

from typing import Any

from pipeline import paths
from pipeline.files import write_text
from pipeline.options import Test
from pipeline.reporting import markdown as md
from pipeline.reporting.comparison import (
    MASK,
    RECALLS,
    CheckedClaim,
    Compared,
    check_claims,
    compare,
    metrics_of,
    readable_method,
)
from pipeline.reporting.context import beside_table, verdict_rule
from pipeline.reporting.published import Published, Row, Table, find_table
from pipeline.reporting.results import Results, load_experiment
from pipeline.reporting.scales_table import is_scales_table, scales_csv, scales_markdown

FIELDS = (
    *("kind", "row", "label", "method", "evaluation", "baseline", "metric", "unit"),
    *("published", "ours", "published_gain", "our_gain", "low", "high", "verdict", "why"),
)
NAMES = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "AP small",
    "ap_medium": "AP medium",
    "ap_large": "AP large",
}
NAMES |= {f"{MASK}{metric}": f"mask {name}" for metric, name in NAMES.items()}
NAMES |= {"map": "mAP", "ar": "AR", "ar50": "AR50", "ar75": "AR75"}
NAMES |= {metric: f"Recall50, {'-'.join(metric.split('_')[1:])} px" for metric in RECALLS[3:]}
SIZES = [f"{kind}ap_{size}" for kind in ("", MASK) for size in ("small", "medium", "large")]
SHOWN = ["map", "ap", *SIZES[:3], f"{MASK}ap", *SIZES[3:], *RECALLS]
SIZES += RECALLS[3:]


def write_table(name: str, preset: str) -> None:
    """Write `tables/<name>.md` and `.csv` of a preset. Raises InputError for an unknown table."""
    published, table = find_table(name)
    results = Results(preset)
    if is_scales_table(table):
        rows, text = scales_csv(results, table), scales_markdown(results, published, table)
    else:
        compared, missing = compare(results, published, table)
        claims = check_claims(results, published, table)
        rows = csv_rows(results, table, compared, missing, claims)
        text = table_markdown(results, published, table, compared, missing, claims)
    write_text(paths.table(preset, name, "csv"), md.csv_text(FIELDS, rows))
    write_text(paths.table(preset, name), text)


def table_markdown(
    results: Results,
    published: Published,
    table: Table,
    compared: list[Compared],
    missing: list[Row],
    claims: list[CheckedClaim],
) -> str:
    """Return the page of one table: published beside ours, gains by object size, cost, claims, and the small print."""
    text = f"# {table.id}: {table.title}\n\n{published.paper.title} ({published.paper.year}), {table.dataset} "
    text += f"{table.split}. Cells are `published → ours`, in percent; brackets are 95 % intervals of our gain.\n\n"
    shown = [metric for metric in SHOWN if metric in table.columns]
    header = ["Row", *(NAMES[metric] for metric in shown), "Published gain", "Our gain", "Verdict"]
    main = metrics_of(table)[0]
    text += md.table(header, [_main_row(item, shown, main) for item in compared], "l" + "r" * (len(shown) + 2) + "l")
    if missing:
        text += f"\n{md.plural(len(missing), 'further row')} of this table {'is' if len(missing) == 1 else 'are'} "
        text += f"not run under this preset; the [CSV]({table.id}.csv) lists them.\n"
    methods = [item for item in compared if item.baseline]
    decided = sum(item.gains[main].verdict.decided for item in methods)
    text += f"\n**{decided} of {md.plural(len(methods), 'compared row')} decided** (by {NAMES[main]}).\n\n"
    notes = beside_table(results, [item.evaluation for item in compared])
    notes += "".join(f"- {sentence}\n" for sentence in _stand_in_sentences(published, table, methods))
    notes += f"- {verdict_rule(results, [item.evaluation for item in compared])}\n"
    others = [c for c in table.columns if c not in NAMES and c != "params_m"]
    notes += f"- Printed but not compared here: {', '.join(others)}.\n" if others else ""
    text += notes
    if methods:
        text += "\n## By object size\n\nGain, `published → ours`, then the verdict of that size alone.\n\n"
        sizes = [metric for metric in SIZES if metric in table.columns]
        text += md.table(["Row", *(NAMES[m] for m in sizes)], [_size_row(item, sizes) for item in methods])
    text += _cost_section(results, methods, table)
    if claims:
        text += "\n## Claims that these rows can check\n\n"
        text += md.table(
            ["Claim", "Of", "Printed", "Ours", "Verdict"], [_claim_row(claim) for claim in claims], "llrrl"
        )
    return text


def csv_rows(
    results: Results, table: Table, compared: list[Compared], missing: list[Row], claims: list[CheckedClaim]
) -> list[dict[str, Any]]:
    """Return the table in long form, a line a row and metric; numbers are text as shown, so AP has one decimal."""
    lines: list[dict[str, Any]] = []
    for item in compared:
        base = {"row": item.row.id, "label": item.row.label, "method": readable_method(item.row)}
        base |= {"evaluation": item.evaluation, "baseline": item.baseline}
        for metric in metrics_of(table):
            line = {"kind": "row", **base, "metric": metric, "unit": "percent"}
            line["published"] = _empty(item.row.values.get(metric))
            line["ours"] = _empty((item.metrics or {}).get(metric), 100)
            gain = item.gains.get(metric)
            if gain is None:
                line["verdict"] = _plain_word(item)
            else:
                line |= {"published_gain": _empty(gain.published), "our_gain": _empty(gain.ours, 100)}
                line |= _judged(gain.verdict)
            lines.append(line)
        lines += [{"kind": "cost", **base, **line} for line in cost_lines(results, item)]
    for claim in claims:
        line = {"kind": "claim", "row": claim.name, "label": claim.statement, "metric": claim.metric, "unit": "percent"}
        line |= {"evaluation": claim.check.a, "baseline": claim.check.b}
        line |= {"published_gain": _empty(claim.check.printed), "our_gain": _empty(claim.gain.ours, 100)}
        lines.append(line | _judged(claim.gain.verdict))
    for row in missing:
        lines.append({"kind": "not run", "row": row.id, "label": row.label, "method": readable_method(row)})
        main = metrics_of(table)[0]
        lines[-1] |= {"evaluation": row.evaluation, "verdict": md.NOT_RUN, "metric": main, "unit": "percent"}
        lines[-1]["published"] = _empty(row.values.get(main))
    return lines


def cost_lines(results: Results, item: Compared) -> list[dict[str, Any]]:
    """Return parameters (millions) and multiply-adds (billions) of a row, and both as multiples of its baseline's."""
    size = results.size(item.experiment)
    base = results.size(paths.split_evaluation(item.baseline)[0]) if item.baseline else None
    if size is None:
        return []
    lines = []
    for metric, unit, scale, column in (
        ("parameters_total", "millions", 1e6, "params_m"),
        ("macs", "billions", 1e9, "gflops"),
    ):
        if size.get(metric) is None:
            continue
        line = {"metric": metric, "unit": unit, "ours": f"{size[metric] / scale:.3f}"}
        line["published"] = _empty(item.row.values.get(column))
        lines.append(line)
        if base is not None and base.get(metric):
            times = size[metric] / base[metric]
            if metric == "macs":
                times *= test_pixels(item.evaluation) / test_pixels(item.baseline)
            ratio = {"metric": f"{metric}_ratio", "unit": "times baseline", "ours": f"{times:.2f}"}
            lines.append(ratio)
    return lines


def test_pixels(evaluation: str) -> int:
    """Return the sum of squared short sides that a test runs a network at, the papers' lengths."""
    experiment, test = paths.split_evaluation(evaluation)
    return sum(side**2 for side in load_experiment(experiment).tests.get(test, Test()).short_sides)


def _main_row(item: Compared, shown: list[str], main: str) -> list[str]:
    cells = [f"{md.cell(item.row.label)}<br>`{item.evaluation}`"]
    for metric in shown:
        ours = md.NOT_RUN if item.metrics is None else md.percent(item.metrics.get(metric))
        cells.append(f"{md.number(item.row.values.get(metric))} → {ours}")
    gain = item.gains.get(main)
    if gain is None:
        return [*cells, "", "", _plain_word(item)]
    return [*cells, md.number(gain.published, sign=True), _our_gain(gain), _word(item, gain.verdict.word)]


def _size_row(item: Compared, sizes: list[str]) -> list[str]:
    cells = [md.cell(f"{readable_method(item.row)}")]
    for metric in sizes:
        gain = item.gains[metric]
        ours = _our_gain(gain)
        word = "" if gain.verdict.word == ours else f", {gain.verdict.word}"
        cells.append(f"{md.number(gain.published, sign=True)} → {ours}{word}")
    return cells


def _our_gain(gain: Any) -> str:
    if gain.ours is None:
        return md.NOT_RUN if gain.verdict.word == md.NOT_RUN else md.MISSING
    low, high = gain.verdict.low, gain.verdict.high
    return md.gain(100 * gain.ours, *(None if end is None else 100 * end for end in (low, high)))


def _claim_row(claim: CheckedClaim) -> list[str]:
    printed = md.number(claim.check.printed, sign=True)
    return [md.cell(claim.statement), NAMES[claim.metric], printed, _our_gain(claim.gain), claim.gain.verdict.word]


def _cost_section(results: Results, methods: list[Compared], table: Table) -> str:
    """Return parameters and multiply-adds beside the baseline's, where they were measured."""
    rows = []
    for item in methods:
        lines = {line["metric"]: line for line in cost_lines(results, item)}
        if "parameters_total_ratio" not in lines:
            continue
        cells = [md.cell(readable_method(item.row))]
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
            printed = published.baseline(table, item.row)[1]
            sentences.append(
                f"{item.row.label}: the printed baseline ({printed.experiments[-1]}) is not run; `{item.baseline}` "
                "stands in for it, so its gain can be `decided up` or `down`, not agree with the printed one."
            )
    return sentences


def _word(item: Compared, word: str) -> str:
    return f"{word} (other baseline)" if item.stand_in else word


def _plain_word(item: Compared) -> str:
    """Return what stands in place of a verdict where there is no gain to judge."""
    if item.metrics is None:
        return md.NOT_RUN
    return "baseline" if item.row.role == "baseline" else "no baseline here"


def _judged(verdict: Any) -> dict[str, str]:
    ends = {"low": _empty(verdict.low, 100), "high": _empty(verdict.high, 100)}
    return {**ends, "verdict": verdict.word, "why": verdict.sentence}


def _empty(value: float | None, scale: float = 1.0) -> str:
    """Return a number with one decimal for a CSV cell, empty where there is none."""
    return "" if value is None else md.number(scale * value)
