"""The papers' printed tables and claims (`data/published/<paper>.yaml`): loaded, checked, looked up."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import field
from msgspec.structs import replace

from pipeline import config, paths
from pipeline.errors import InputError, nearest
from pipeline.options import Options
from pipeline.published.bounds import Bound
from pipeline.published.papers import check_paper
from pipeline.published.row_names import headings
from pipeline.published.rows import RowsFile, Source, Speed, check_rows, is_classifier, load_rows


class Paper(Options):
    """Which paper the tables are from."""

    key: str
    title: str
    year: int
    venue: str | None = None
    venue_source: str = ""


class Row(Options):
    """One printed row; APs are percent, `None` where the paper prints none.

    The last six fields are no part of the printed table: `load_published` fills them from the paper's rows.yaml.
    """

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
    evaluated: str | None = None
    stand_in: str | None = None
    speed: Speed | None = None
    absent: str = ""
    shown: bool = True
    heading: str = ""

    @property
    def name(self) -> str:
        """The printed label; with what the table prints as a heading, where several rows have one label."""
        return f"{self.label} ({self.heading})" if self.heading else self.label

    @property
    def evaluation(self) -> str | None:
        """Name of the evaluation behind this row: the last experiment's, under the row's test."""
        if self.evaluated or not self.experiments:
            return self.evaluated
        return paths.evaluation_name(self.experiments[-1], str(self.factors.get("test", "single")))

    @property
    def source(self) -> Source:
        """Where our numbers of this row come from."""
        if not self.ours:
            return Source("quoted", reason=f"quoted from {self.quoted_from or 'other work'}")
        if self.absent:
            return Source("absent", reason=self.absent)
        if self.speed:
            return Source("speed", paths.layer_benchmark(self.speed.device).as_posix())
        if "direction" in self.factors:
            return Source("scales", self.experiments[-1])
        kind = "classifier" if is_classifier(self.experiments[-1]) else "evaluation"
        return Source(kind, self.evaluation)


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
    """`a` minus (or over) `b`, both `table/row/column`, against the printed number.

    Where the sentence says more of the difference than its sign (at least, about, level), `bound` does; of times it is
    the bound of their ratio.
    """

    op: str
    a: str
    b: str
    printed: float
    tol: float = 0.0
    bound: Bound = Bound()


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
    """Return a paper's printed tables. Raises InputError for an unknown paper and for a wrong file."""
    check_paper(paper)
    printed = read_published(paths.ROOT / paths.published_file(paper))
    rows = load_rows(paper)
    check_rows(rows, {t.id: [row.id for row in t.rows] for t in printed.tables}, paths.table_rows(paper))
    return replace(printed, tables=tuple(_completed(table, rows) for table in printed.tables))


def _completed(table: Table, rows: RowsFile) -> Table:
    """Return a table whose rows know what stands behind them."""
    parts = {"evaluated": rows.evaluations, "stand_in": rows.baselines, "speed": rows.speeds, "absent": rows.absent}
    found = {key: part.get(table.id, {}) for key, part in parts.items()}
    names = headings([row.label for row in table.rows], [row.factors for row in table.rows])
    completed = (
        replace(row, heading=name, **{key: part[row.id] for key, part in found.items() if row.id in part})
        for row, name in zip(table.rows, names, strict=True)
    )
    return replace(table, rows=tuple(completed))


def read_published(path: Path) -> Published:
    """Read and check one file of printed tables. Raises InputError naming table and row of the first mistake."""
    published = config.load(path, Published)
    where = config.relative(path)
    if (twice := _twice(published.tables)) is not None:
        raise InputError(f"{where}: table {twice} occurs twice; rename one.")
    for table in published.tables:
        if (twice := _twice(table.rows)) is not None:
            raise InputError(f"{where}: table {table.id} has two rows {twice!r}; rename one.")
        for row in table.rows:
            _check_row(published, table, row, where)
    _check_claims(published, where)
    return published


def _twice(entries: tuple[Table, ...] | tuple[Row, ...]) -> str | None:
    return next((name for name, count in Counter(entry.id for entry in entries).items() if count > 1), None)


def find_table(name: str, headline: bool = False) -> tuple[Published, Table]:
    """Return the paper's file and a table (`headline`: with the quickstart's rows). Raises InputError without one."""
    paper = name.split("_", 1)[0]
    if paper not in paths.PAPERS:
        known = [table.id for key in paths.PAPERS for table in load_published(key).tables]
        raise InputError(f"Unknown table {name!r}{nearest(name, known)}; data/published lists all.")
    published = load_published(paper)
    table = published.table(name)
    if not headline:
        return published, table
    listed = load_rows(paper).headline
    if name not in listed:
        raise InputError(f"Table {name} has no headline rows; {paths.table_rows(paper)} names those that have.")
    published = replace(published, tables=tuple(_only(table, listed[name]) for table in published.tables))
    return published, published.table(name)


def _only(table: Table, evaluations: tuple[str, ...]) -> Table:
    """Return a table that shows the rows of some evaluations (or experiments with learnt scales)."""
    return replace(table, rows=tuple(replace(row, shown=row.source.name in evaluations) for row in table.rows))


def exists(row: Row) -> bool:
    """Tell whether a table shows our numbers of a row: it is neither quoted nor absent, and no headline hides it."""
    return row.shown and row.source.kind not in ("quoted", "absent")


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
        sentence = f"{place}: baseline_row {row.baseline_row!r} names no table of this paper; correct it."
        raise InputError(sentence) from error
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
