"""A table in long form, a line a row and metric: the CSV that pages and figures reuse; numbers are text as shown."""

from typing import Any

from pipeline import markdown as md
from pipeline import paths
from pipeline.options import Test
from pipeline.published.columns import name_of
from pipeline.published.tables import Row, Table
from pipeline.verdicts.claim_checks import CheckedClaim
from pipeline.verdicts.comparison import Compared, metrics_of, readable_method
from pipeline.verdicts.estimates import spread
from pipeline.verdicts.lengths import times_images
from pipeline.verdicts.printed_costs import PrintedCost
from pipeline.verdicts.results import Results, load_experiment
from pipeline.verdicts.rule import Word


def csv_rows(
    results: Results,
    table: Table,
    compared: list[Compared],
    missing: list[Row],
    claims: list[CheckedClaim],
    costs: list[PrintedCost],
) -> list[dict[str, Any]]:
    """Return the table in long form, a line a row and metric; numbers are text as shown, so AP has one decimal."""
    lines: list[dict[str, Any]] = []
    for item in compared:
        base = _about(item.row) | {"evaluation": item.evaluation, "baseline": item.baseline}
        for metric in metrics_of(table):
            found, gain = spread(results, item.evaluation, metric), item.gains.get(metric)
            line = {"kind": "row", **base, "metric": metric, "unit": "percent"}
            line |= {"published": _printed(item.row.values.get(metric)), "sd": empty(found.sd, 100, 2)}
            line |= {
                "ours": empty((item.metrics or {}).get(metric), 100),
                "blocks": found.count if item.metrics else "",
            }
            line |= {"verdict": plain_word(item)} if gain is None else _judged(gain.verdict)
            cells = {"published_gain": _printed(gain.published), "our_gain": empty(gain.ours, 100)} if gain else {}
            lines.append(line | cells)
        lines += [{"kind": "cost", **base, **line} for line in cost_lines(results, item)]
    for cost in costs:
        line = {"kind": "printed cost", **_about(cost.row), "evaluation": cost.row.evaluation}
        line |= {"metric": cost.column, "unit": name_of(cost.column), "published": cost.published}
        line |= {"ours": empty(cost.ours, 1, 3), "published_gain": empty(cost.published_ratio, 1, 3)}
        lines.append(line | {"our_gain": empty(cost.our_ratio, 1, 3)} | _judged(cost.verdict))
    lines += claim_lines(claims)
    main = metrics_of(table)[0]
    for row in missing:
        line = {"kind": "not run", **_about(row), "evaluation": row.evaluation, "verdict": Word.NOT_RUN}
        lines.append(line | {"metric": main, "unit": "percent", "published": _printed(row.values.get(main))})
    return lines


def claim_lines(claims: list[CheckedClaim]) -> list[dict[str, Any]]:
    """Return the checks of claims as lines of a table's CSV: both cells, the printed and our difference or ratio."""
    return [
        {"kind": "claim", "row": claim.name, "label": claim.statement, "metric": claim.metric, "unit": claim.unit}
        | {"evaluation": claim.check.a, "baseline": claim.check.b}
        | {"published_gain": "" if claim.gain.published is None else f"{claim.gain.published:g}"}
        | {"our_gain": empty(claim.gain.ours, claim.scale, 1 if claim.scale == 100 else 3)}
        | _judged(claim.gain.verdict)
        for claim in claims
    ]


def cost_lines(results: Results, item: Compared) -> list[dict[str, Any]]:
    """Return parameters (millions) and multiply-adds (billions) of a row, and multiples of its baseline's.

    The images that its weights saw in training are a multiple alone: a gain of longer training is none of a method.
    """
    size = results.size(item.experiment) or {}
    baseline = paths.split_evaluation(item.baseline)[0] if item.baseline else ""
    base = (results.size(baseline) if baseline else None) or {}
    images = times_images(results, item.experiment, baseline) if baseline else None
    lines = [{"metric": "images_ratio", "unit": "times baseline", "ours": f"{images:.2f}"}] if images else []
    for metric, unit, scale, column in (
        ("parameters_total", "millions", 1e6, "params_m"),
        ("macs", "billions", 1e9, "gflops"),
    ):
        if size.get(metric) is None:
            continue
        line = {"metric": metric, "unit": unit, "ours": f"{size[metric] / scale:.3f}"}
        lines.append(line | {"published": empty(item.row.values.get(column))})
        if base.get(metric):
            pixels = test_pixels(item.evaluation) / test_pixels(item.baseline) if metric == "macs" else 1
            times = f"{size[metric] / base[metric] * pixels:.2f}"
            lines.append({"metric": f"{metric}_ratio", "unit": "times baseline", "ours": times})
    return lines


def _about(row: Row) -> dict[str, str]:
    return {"row": row.id, "label": row.name, "method": readable_method(row)}


def test_pixels(evaluation: str) -> int:
    """Return the sum of squared short sides that a test runs a network at, the papers' lengths."""
    experiment, test = paths.split_evaluation(evaluation)
    return sum(side**2 for side in load_experiment(experiment).tests.get(test, Test()).short_sides)


def plain_word(item: Compared) -> Word:
    """Return what stands in place of a verdict where there is no gain to judge."""
    if item.metrics is None:
        return Word.NOT_RUN
    return Word.BASELINE if item.row.role == "baseline" else Word.NO_BASELINE_HERE


def _judged(verdict: Any) -> dict[str, str]:
    ends = {"low": empty(verdict.low, 100), "high": empty(verdict.high, 100)}
    words = {"verdict": verdict.word, "size": verdict.size, "why": verdict.sentence}
    return {**ends, **words, "p": empty(verdict.p, 1, 4)}


def _printed(value: float | None) -> str:
    """Return a paper's number for a CSV cell, empty where there is none."""
    return "" if value is None else md.as_printed(value)


def empty(value: float | None, scale: float = 1.0, digits: int = 1) -> str:
    """Return a number with fixed decimals for a CSV cell, empty where there is none."""
    return "" if value is None else md.number(scale * value, digits)
