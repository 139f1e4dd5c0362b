"""The stages of all published tables: DVC's `foreach` cannot give a table its rows, so each is written out.

Every table waits for all its rows; `headline_` ones, which the quickstart shows, for the few that rows.yaml lists.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.published.columns import kind_of
from pipeline.published.papers import NAMES
from pipeline.published.rows import is_classifier, load_rows
from pipeline.published.tables import Published, Row, Table, exists, find_table, load_published
from pipeline.reporting.times import sources as time_sources
from pipeline.verdicts.comparison import find_baseline
from pipeline.verdicts.results import load_experiment, scale_source

PRESET = "${preset}"  # filled in by DVC
QUICK = " (the quickstart's rows)"


def stages(paper: str) -> dict[str, dict[str, Any]]:
    """Return the stages of a paper's tables as dvc.yaml holds them: first those of the headline, then all."""
    found = [stage(name, headline=True) for name in load_rows(paper).headline]
    return dict([*found, *(stage(table.id) for table in load_published(paper).tables)])


def stage(name: str, headline: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the name and the contents of one table's stage."""
    published, table = find_table(name, headline)
    label, place = (f"headline_{name}", paths.headline) if headline else (name, paths.table)
    title = f"{NAMES[published.paper.key]}, {name}: {table.title}{QUICK if headline else ''}."
    return label, {
        "desc": title,
        "cmd": f"python -m pipeline.stages.table {name}{' --headline' if headline else ''} --preset {PRESET}",
        "deps": deps(published, table),
        "outs": [{place(PRESET, name, suffix).as_posix(): {"cache": False}} for suffix in ("md", "csv")],
    }


def deps(published: Published, table: Table) -> list[str]:
    """Return what a table's stage reads, in the order in which dvc.yaml lists it.

    A benchmark's file is listed once it exists: it is measured on some machine and committed, no stage waits for it.
    So is rows.yaml, which a paper may lack.
    """
    paper = published.paper.key
    rows = [row for row in table.rows if exists(row)]
    files = [paths.published_file(paper), paths.table_rows(paper), *time_sources(table)]
    files += sorted({Path(row.source.name) for row in rows if row.source.kind == "speed"})
    found = [paths.code_digest(PRESET, "table"), paths.preset_file(PRESET)]
    found += [path for path in files if (paths.ROOT / path).is_file()]
    scales = [row.source.name for row in rows if row.source.kind == "scales"]
    evaluations = [row.source.name for row in rows if row.source.kind in ("evaluation", "classifier")]
    evaluations += [base for row in rows if (base := find_baseline(published, table, row)[0])]
    evaluations += [row.source.name for row in claimed(published, table) if exists(row) and row.experiments]
    evaluations = [name for name in dict.fromkeys(evaluations) if name not in scales]
    experiments = list(dict.fromkeys([*(paths.split_evaluation(name)[0] for name in evaluations), *scales]))
    if experiments:
        found.append(paths.NOISE)
        found += sorted({paths.recipe_file(load_experiment(name).recipe) for name in experiments})
        found += [paths.experiment_file(name) for name in experiments]
    for name in evaluations:
        if not is_classifier(name):
            found += [paths.metrics(PRESET, name), paths.bootstrap(PRESET, name)]
    for name in experiments:
        found.append(paths.training_summary(PRESET, name))
        found += [] if name in scales else [paths.size(PRESET, name)]
    if any(kind_of(column) == "count" for column in table.columns):
        found.append(paths.metrics(PRESET, "identities"))
    sources = [source for name in experiments if (source := scale_source(name))]
    found += [paths.scales(PRESET, name) for name in dict.fromkeys(sources)]
    return [path.as_posix() for path in dict.fromkeys(found)]


def claimed(published: Published, table: Table) -> list[Row]:
    """Return the rows that the claims which start in a table compare, some of them of other tables."""
    checks = [check for claim in published.claims for check in claim.check if check.a.startswith(f"{table.id}/")]
    cells = [operand.split("/") for check in checks for operand in (check.a, check.b)]
    rows = [published.table(name).row(row) for name, row, _ in cells]
    return list({id(row): row for row in rows}.values())
