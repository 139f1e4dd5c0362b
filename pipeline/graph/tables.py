"""The stages of all published tables, as text: DVC's `foreach` cannot give a table its rows, so each is written out.

`python -m pipeline.graph write` writes workflow/papers/<paper>/tables/dvc.yaml from data/published, rows.yaml
and the experiment files; a test holds the committed texts equal to it.
"""

from __future__ import annotations

from pathlib import Path

from pipeline import paths
from pipeline.files import write_text
from pipeline.published.columns import kind_of
from pipeline.published.papers import NAMES
from pipeline.published.rows import is_classifier, load_rows
from pipeline.published.tables import Published, Row, Table, exists, find_table, load_published
from pipeline.verdicts.comparison import find_baseline
from pipeline.verdicts.results import load_experiment, scale_source
from pipeline.verdicts.times import sources as time_sources

PRESET = "${preset}"  # filled in by DVC
HEAD = """\
# Written by `python -m pipeline.graph write`, for a DVC foreach cannot give tables their rows. Every table waits for
# all its rows; `headline_` ones, which the quickstart shows, for the few that rows.yaml lists. A test holds this equal.
vars: [../../../../params.yaml]

stages:
"""


def dvc_file(paper: str) -> Path:
    return paths.table_rows(paper).with_name("dvc.yaml")


def write() -> list[Path]:
    """Write the stages of all papers' tables, and return the files that changed."""
    changed = []
    for paper in paths.PAPERS:
        path = paths.ROOT / dvc_file(paper)
        if not path.is_file() or path.read_text(encoding="utf-8") != text(paper):
            write_text(path, text(paper))
            changed.append(dvc_file(paper))
    return changed


def text(paper: str) -> str:
    """Return the dvc.yaml of a paper's tables: first those of the headline, then all."""
    headline = [stage(name, headline=True) for name in load_rows(paper).headline]
    return HEAD + "".join([*headline, *(stage(table.id) for table in load_published(paper).tables)])


def stage(name: str, headline: bool = False) -> str:
    """Return the text of one table's stage."""
    published, table = find_table(name, headline)
    label, place = (f"headline_{name}", paths.headline) if headline else (name, paths.table)
    title = f"{NAMES[published.paper.key]}, {name}: {table.title}".replace('"', "'")
    title += " (the quickstart's rows)" if headline else ""
    lines = [
        f"  {label}:",
        f'    desc: "{title}."',
        "    wdir: ../../../..",
        f"    cmd: python -m pipeline.stages.table {name}{' --headline' if headline else ''} --preset {PRESET}",
        "    deps:",
        *(f"      - {dep}" for dep in deps(published, table)),
        "    outs:",
        *(f"      - {place(PRESET, name, suffix).as_posix()}: {{cache: false}}" for suffix in ("md", "csv")),
    ]
    return "\n".join(lines) + "\n"


def deps(published: Published, table: Table) -> list[str]:
    """Return what a table's stage reads, in the order in which dvc.yaml lists it.

    A benchmark's file is listed once it exists: it is measured on some machine and committed, no stage waits for it.
    """
    paper = published.paper.key
    found = [
        paths.code_digest("table"),
        paths.preset_file(PRESET),
        paths.published_file(paper),
        paths.table_rows(paper),
    ]
    rows = [row for row in table.rows if exists(row)]
    found += sorted({Path(row.source.name) for row in rows if row.source.kind == "speed"})
    found += time_sources(table)
    found = [path for path in found if "benchmarks" not in path.parts or (paths.ROOT / path).is_file()]
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
