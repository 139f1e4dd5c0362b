"""The papers' printed tables and claims (`data/published/<paper>.yaml`): loaded, checked, looked up."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from msgspec import field

from pipeline import config, files, paths
from pipeline.errors import InputError, nearest
from pipeline.options import Options


class Paper(Options):
    """Which paper the tables are from."""

    key: str
    title: str
    year: int
    venue: str | None = None
    venue_source: str = ""


class Row(Options):
    """One printed row; APs are percent, `None` where the paper prints none."""

    id: str
    label: str
    values: dict[str, float | None]
    ours: bool
    role: str
    src_line: tuple[int, ...] = ()
    factors: dict[str, Any] = field(default_factory=dict)
    experiments: tuple[str, ...] = ()
    baseline_row: str | None = None
    printed_gain: dict[str, float] = field(default_factory=dict)
    note: str = ""
    quoted_from: str = ""
    printed_arrow: Any = None
    inferred_values: Any = None
    missing_in_ocr: bool = False
    external_values: dict[str, Any] = field(default_factory=dict)
    unordered: Any = None

    @property
    def evaluation(self) -> str | None:
        """Name of the evaluation behind this row: the last experiment's, under the row's test."""
        if not self.experiments:
            return None
        return paths.evaluation_name(self.experiments[-1], str(self.factors.get("test", "single")))


class Table(Options):
    """One printed table."""

    id: str
    title: str
    dataset: str
    split: str
    unit: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    printed_table: str = ""
    iou_type: str = "bbox"
    source_lines: tuple[int, ...] = ()
    printed_decimals: dict[str, int] = field(default_factory=dict)

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.id == name), None)


class Check(Options):
    """`a` minus (or over) `b`, both `table/row/column`, against the printed number."""

    op: str
    a: str
    b: str
    printed: float
    tol: float = 0.0


class Claim(Options):
    """A sentence of the paper with the numbers it rests on."""

    id: str
    statement: str
    values: dict[str, Any]
    unit: str
    how_to_check: str
    src_line: tuple[int, ...] = ()
    check: tuple[Check, ...] = ()
    derived_values: dict[str, Any] = field(default_factory=dict)
    agrees_with_printed_numbers: Any = None
    role: str = ""


class Published(Options):
    """Contents of `data/published/<paper>.yaml`."""

    paper: Paper
    tables: tuple[Table, ...]
    claims: tuple[Claim, ...] = ()
    conventions: dict[str, Any] = field(default_factory=dict)
    figures: Any = ()
    settings: dict[str, Any] = field(default_factory=dict)
    ocr_notes: Any = ()

    def table(self, name: str) -> Table:
        found = next((table for table in self.tables if table.id == name), None)
        if found is None:
            known = [table.id for table in self.tables]
            raise InputError(
                f"Unknown table {name!r}{nearest(name, known)}; {paths.published_file(self.paper.key)} lists all."
            )
        return found

    def baseline(self, table: Table, row: Row) -> tuple[Table, Row] | None:
        """Return the row, perhaps of another table (`table:row`), that this row's gain is over; None without one."""
        if row.baseline_row is None:
            return None
        where, _, name = row.baseline_row.rpartition(":")
        other = self.table(where) if where else table
        found = other.row(name)
        return None if found is None else (other, found)


@cache
def load_published(paper: str) -> Published:
    """Return a paper's printed tables. Raises InputError for an unknown paper and whatever the file has wrong."""
    if paper not in paths.PAPERS:
        raise InputError(f"Unknown paper {paper!r}{nearest(paper, paths.PAPERS)}; known are {', '.join(paths.PAPERS)}.")
    return read_published(paths.ROOT / paths.published_file(paper))


def read_published(path: Path) -> Published:
    """Read and check one file of printed tables. Raises InputError naming table and row of the first mistake."""
    published = config.load(path, Published)
    where = config.relative(path)
    seen: set[str] = set()
    for table in published.tables:
        if table.id in seen:
            raise InputError(f"{where}: table {table.id} occurs twice; rename one.")
        seen.add(table.id)
    for table in published.tables:
        ids: set[str] = set()
        for row in table.rows:
            if row.id in ids:
                raise InputError(f"{where}: table {table.id} has two rows {row.id!r}; rename one.")
            ids.add(row.id)
            _check_row(published, table, row, where)
    _check_claims(published, where)
    return published


def find_table(name: str) -> tuple[Published, Table]:
    """Return a table by its id (`dst_t2`) and the paper's file. Raises InputError where there is none."""
    paper = name.split("_", 1)[0]
    if paper not in paths.PAPERS:
        known = [table.id for key in paths.PAPERS for table in load_published(key).tables]
        raise InputError(f"Unknown table {name!r}{nearest(name, known)}; data/published lists all.")
    published = load_published(paper)
    return published, published.table(name)


def rows_of(experiment: str) -> list[tuple[Table, Row]]:
    """Return every row that evaluates an experiment, over all tables of its paper."""
    paper = paths.paper_of(experiment)
    if paper not in paths.PAPERS:
        return []
    tables = load_published(paper).tables
    return [(table, row) for table in tables for row in table.rows if row.experiments[-1:] == (experiment,)]


def exists(table: str, row: Row) -> bool:
    """Tell whether a table of the project shows a row's result: whether its stage reads the row's evaluation.

    The catalogue has more experiments than any preset trains for one table; a stage's inputs say which ones this table
    waits for, and the other rows read `not run`. A table that is no stage, made by hand, waits for them all.
    """
    if not row.ours or not row.experiments:
        return False
    waits_for = evaluations_of(table)
    return waits_for is None or row.evaluation in waits_for


@cache
def evaluations_of(table: str) -> frozenset[str] | None:
    """Return the evaluations (or experiments with learnt scales) that a table waits for; None where it is no stage."""
    file = paths.ROOT / paths.table_rows(table.split("_", 1)[0])
    rows = files.read_yaml(file).get(table) if file.is_file() else None
    return None if rows is None else frozenset(rows)


def _check_row(published: Published, table: Table, row: Row, where: str) -> None:
    place = f"{where}: table {table.id}, row {row.id}"
    if row.role not in ("baseline", "method", "quoted"):
        raise InputError(f"{place}: role must be baseline, method or quoted, found {row.role!r}.")
    for column in row.values:
        if column not in table.columns:
            raise InputError(
                f"{place}: value of unknown column {column!r}{nearest(column, table.columns)}; "
                "add the column or correct it."
            )
    if row.baseline_row is None:
        return
    try:
        found = published.baseline(table, row)
    except InputError as error:
        raise InputError(f"{place}: baseline_row {row.baseline_row!r} names no table of this paper; correct it.") from (
            error
        )
    if found is None:
        known = [other.id for other in table.rows]
        raise InputError(f"{place}: baseline_row {row.baseline_row!r} names no row{nearest(row.baseline_row, known)}.")


def _check_claims(published: Published, where: str) -> None:
    tables = {table.id: table for table in published.tables}
    for claim in published.claims:
        for check in claim.check:
            for operand in (check.a, check.b):
                parts = operand.split("/")
                table = tables.get(parts[0])
                if len(parts) != 3 or table is None or table.row(parts[1]) is None or parts[2] not in table.columns:
                    raise InputError(
                        f"{where}: claim {claim.id} checks {operand!r}, which is no `table/row/column` of this file."
                    )
