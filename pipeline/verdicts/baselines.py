"""Which evaluation a printed row's gain is over, and the pairs that the headline compares."""

from __future__ import annotations

from functools import cache

from pipeline import paths
from pipeline.published.rows import load_rows
from pipeline.published.tables import Published, Row, Table, exists, find_table


def find_baseline(published: Published, table: Table, row: Row) -> tuple[str | None, bool]:
    """Return the evaluation that a row's gain is over, and whether it stands in for the printed one.

    Where the project lacks the printed baseline, the experiment that rows.yaml names stands in, else the paper's first
    baseline of the same detector, backbone and neck that it has, whatever its schedule.
    """
    printed = published.baseline(table, row)
    if printed is not None and exists(printed[1]):
        return printed[1].evaluation, False
    if row.stand_in:
        return row.stand_in, True
    if printed is None:
        return None, False
    wanted = [printed[1].factors.get(key) for key in ("detector", "backbone", "neck")]
    for other in (other for candidate in published.tables for other in candidate.rows):
        same = [other.factors.get(key) for key in ("detector", "backbone", "neck")] == wanted
        if same and other.factors.get("method") == "baseline" and exists(other):
            return other.evaluation, True
    return None, False


def headline_tables(*papers: str) -> list[str]:
    """Return the tables that the quickstart shows, in the papers' order: of all papers, or of some."""
    return [name for paper in papers or paths.PAPERS for name in load_rows(paper).headline]


@cache
def headline_pairs() -> tuple[tuple[str, str], ...]:
    """Return the evaluations that the headline's rows compare, each with its baseline."""
    found = []
    for name in headline_tables():
        published, table = find_table(name, headline=True)
        for row in (row for row in table.rows if row.ours and exists(row)):
            baseline, _ = find_baseline(published, table, row)
            if baseline is not None:
                found.append((row.evaluation, baseline))
    return tuple(dict.fromkeys(found))
