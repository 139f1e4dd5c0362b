"""Printed parameters, multiply-adds and times beside ours: counts at the papers' size, and ratios of times."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.published.columns import COUNTS, TIMES, name_of
from pipeline.published.tables import Published, Row, Table
from pipeline.reporting.times import KINDS, Ratio
from pipeline.reporting.times import ratio as time_ratio
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import Verdict

CLOSE, LEVEL = 0.01, 0.05  # relative difference of counts, and of a ratio of times from 1


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


def judge_count(printed: float | None, ours: float | None, decimals: int = 1) -> Verdict:
    """Judge a count against the printed one, both in the printed unit.

    `equal` where ours rounds to the printed digits, `close` within 1 %, else `differs`.
    """
    if ours is None:
        return Verdict("not counted", None, None, "No count at the papers' size is at hand.")
    if printed is None:
        return Verdict("not printed", None, None, "The paper prints none here.")
    off = ours / printed - 1
    sentence = f"Counted {ours:.3f}, printed {printed:g}: {100 * off:+.2f} %."
    if abs(ours - printed) <= 0.5 * 10**-decimals + 1e-9:
        return Verdict("equal", None, None, sentence)
    return Verdict("close" if abs(off) <= CLOSE else "differs", None, None, sentence)


def judge_ratio(printed: float | None, ours: Ratio | None) -> Verdict:
    """Judge a ratio of times to the baseline's: does it lie on the printed one's side of 1, by more than 5 % or not?

    `undecided` where the ends of ours lie on two sides.
    """
    if printed is None:
        return Verdict("no baseline" if ours is None else "not printed", None, None, "No printed ratio to compare.")
    if ours is None:
        return Verdict("not timed", None, None, "No time of both networks was measured here.")
    sides = {_side(end) for end in (ours.value, ours.low, ours.high) if end is not None}
    word = "undecided" if len(sides) > 1 else "agrees" if sides == {_side(printed)} else "contradicts"
    return Verdict(word, None, None, f"Printed {printed:.2f} times the baseline's. {ours.sentence}")


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


def describe(cost: PrintedCost) -> list[str]:
    """Return the cells of one printed cost: column, published, ours, both ratios, verdict."""
    digits = 3 if cost.column in COUNTS else 1
    cells = [name_of(cost.column), "n/a" if cost.published is None else f"{cost.published:g}"]
    cells.append(f"{cost.ours:.{digits}f}" if cost.ours is not None and cost.column in COUNTS else "")
    cells += ["" if ratio is None else f"{ratio:.2f}x" for ratio in (cost.published_ratio, cost.our_ratio)]
    return [*cells, cost.verdict.word]


def _side(ratio: float) -> int:
    return 0 if abs(ratio - 1) <= LEVEL else 1 if ratio > 1 else -1


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base
