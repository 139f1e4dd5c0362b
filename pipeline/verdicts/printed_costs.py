"""Printed parameters, multiply-adds and times beside ours: counts at the papers' size, and ratios of times."""

from dataclasses import dataclass

from pipeline.published.columns import COUNTS, TIMES
from pipeline.published.tables import Published, Row, Table
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import Verdict, judge_count, judge_ratio
from pipeline.verdicts.times import KINDS
from pipeline.verdicts.times import ratio as time_ratio


@dataclass(frozen=True)
class PrintedCost:
    """One cell of a table that is no score: ours in the printed unit, ratios to the baseline's where it has one."""

    row: Row
    column: str
    published: float | None
    ours: float | None
    published_ratio: float | None
    our_ratio: float | None
    verdict: Verdict


def costs_of(results: Results, published: Published, table: Table, rows: list[Row]) -> list[PrintedCost]:
    """Return every printed count and time of some rows of a table, judged."""
    columns = [column for column in table.columns if column in (*COUNTS, *TIMES)]
    return [_cost(results, published, table, row, column) for row in rows for column in columns if row.experiments]


def ours_in_print(results: Results, experiment: str, column: str) -> float | None:
    """Return our count of a printed column at the papers' size and in its unit, None where nothing was counted."""
    unit = {"params_m": ("parameters", 1e6), "gflops": ("macs", 1e9)}.get(column)
    found = results.counts(experiment) if unit else None
    return None if not found or found.get(unit[0]) is None else found[unit[0]] / unit[1]


def _cost(results: Results, published: Published, table: Table, row: Row, column: str) -> PrintedCost:
    found = published.baseline(table, row)
    base = found[1] if found else None
    printed, ours = row.values.get(column), ours_in_print(results, row.experiments[-1], column)
    before = base.values.get(column) if base else None
    ratio = _ratio(printed, before)
    before_ours = ours_in_print(results, base.experiments[-1], column) if base and base.experiments else None
    our_ratio = _ratio(ours, before_ours)
    if column in COUNTS:
        verdict = judge_count(printed, ours, table.printed_decimals.get(column, 1))
    else:
        names = (row.experiments[-1], base.experiments[-1]) if base and base.experiments else None
        timed = time_ratio(KINDS[column], *names) if names else None
        our_ratio = timed.value if timed else None
        verdict = judge_ratio(ratio, timed)
    return PrintedCost(row, column, printed, ours, ratio, our_ratio, verdict)


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base
