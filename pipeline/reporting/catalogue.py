"""The catalogue of a preset: every table that the papers print, and the experiments behind their text and figures."""

import os
from collections import Counter
from functools import partial
from typing import NamedTuple

from pipeline import markdown as md
from pipeline import paths
from pipeline.files import read_yaml, write_text
from pipeline.published.columns import kind_of, name_of
from pipeline.published.papers import NAMES
from pipeline.published.rows import is_classifier
from pipeline.published.tables import Table, load_published
from pipeline.reporting.combined import combined_lines
from pipeline.reporting.context import TRAINED, numbers_of
from pipeline.reporting.scorecard_section import scorecard_section
from pipeline.reporting.sources import experiment_link
from pipeline.verdicts.comparison import METRICS, RECALLS
from pipeline.verdicts.results import Results, load_experiment
from pipeline.verdicts.scorecard import distinct
from pipeline.verdicts.table_lines import Counts, count_verdicts, main_metric, read_table

CATALOGUE = "data/published/experiments.yaml"  # every experiment of the papers, by name


def write_catalogue(preset: str) -> None:
    """Write `catalogue.md` of a preset, and the figure of all comparisons."""
    from pipeline.reporting.figures.comparisons import draw_comparisons

    names = [table.id for paper in paths.PAPERS for table in load_published(paper).tables]
    results, tables = Results(preset), {name: read_table(preset, name) for name in names}
    draw_comparisons(preset, tables, combined_lines(results), paths.figure(preset, "comparisons"))
    write_text(paths.catalogue(preset), catalogue_page(results))


class Entry(NamedTuple):
    """A table in the catalogue: rows of the paper's own, those with a result, and what the verdicts say."""

    table: Table
    made: bool
    own: int
    run: int
    counts: Counts
    said: str

    @property
    def label(self) -> str:
        return f"[{self.table.id}](tables/{self.table.id}.md)" if self.made else self.table.id


COLUMNS = (
    md.Column("Table", lambda entry: entry.label),
    md.Column("Shows", lambda entry: entry.table.title),
    md.Column("Rows", lambda entry: entry.own, "r"),
    md.Column("With a result", lambda entry: entry.run, "r"),
    md.Column("Compared", lambda entry: entry.counts.compared, "r"),
    md.Column("Decided", lambda entry: entry.counts.decided, "r"),
    md.Column("Verdicts", lambda entry: entry.said),
)


def catalogue_page(results: Results) -> str:
    """Return the list of all published tables with what came of their rows, paper by paper."""
    entries = [table_entry(results, table) for paper in paths.PAPERS for table in load_published(paper).tables]
    own, run = sum(entry.own for entry in entries), sum(entry.run for entry in entries)
    compared, decided = (sum(getattr(entry.counts, key) for entry in entries) for key in ("compared", "decided"))
    text = f"# All tables, preset {results.name}\n\n{numbers_of(results, '')}\n\n"
    tables = {entry.table.id: read_table(results.name, entry.table.id) for entry in entries}
    once = [line for _, line in distinct(tables)]
    text += f"{md.plural(len(entries), 'table')} with {own} rows of the papers' own: **{run} have a result here**. "
    text += (
        f"**{sum(line.verdict.decided for line in once)} of {md.plural(len(once), 'distinct comparison')} decided**, "
    )
    text += f"which are {decided} of {compared} rows that were run: the papers print some in several tables. "
    text += "[Back](README.md), [every result as one CSV](results.csv).\n"
    if os.path.exists(paths.index(results.name).with_name("hours.md")):  # builds write it, so no stage depends on it
        text += "\n[Core-hours](hours.md) of the trainings and tests behind these results, by experiment.\n"
    if results.judges:
        text += f"\n## All comparisons together\n\n{scorecard_section(tables)}"
        text += "\n![Gains of all comparisons, published and ours](figures/comparisons.png)\n"
        text += "\n[Data](figures/comparisons.csv).\n"
    for paper in paths.PAPERS:
        rows = [entry for entry in entries if entry.table.id.startswith(f"{paper}_")]
        text += f"\n## {NAMES[paper]}\n\n{md.table(COLUMNS, rows)}"
    return text + further_section(results) + commands(results)


def table_entry(results: Results, table: Table) -> Entry:
    """Return what came of a table's rows."""
    lines = read_table(results.name, table.id)
    ids = {row.id for row in table.rows}
    # A count needs no training: every network has its parameters.
    told = [x for x in lines if x.ours is not None and x.kind != "cost" and kind_of(x.metric) != "count"]
    run = len(ids & {line.row for line in told})
    counts = count_verdicts(lines, main_metric(lines))
    said = str(counts)
    if not counts.words:
        named = Counter({line.row: line.verdict for line in lines if line.kind in ("row", "scale", "speed")}.values())
        said = ", ".join(f"{count} {word}" for word, count in sorted(named.items()))
    return Entry(table, bool(lines), sum(row.ours for row in table.rows), run, counts, said or "not made")


def beyond_tables() -> list[str]:
    """Return the papers' experiments that stand behind no row: prerequisites, numbers in the text, figures."""
    named = {
        name
        for paper in paths.PAPERS
        for table in load_published(paper).tables
        for row in table.rows
        for name in (*row.experiments, row.stand_in)
    }
    return [name for name in read_yaml(paths.ROOT / CATALOGUE) if name not in named]


def evaluations_beyond() -> list[str]:
    """Return the evaluations (classifiers by their name) of the experiments that stand behind no row."""
    return [
        name if is_classifier(name) else paths.evaluation_name(name, test)
        for name in beyond_tables()
        for test in load_experiment(name).tests
    ]


def further_section(results: Results) -> str:
    """Return what the experiments behind no row reached."""
    columns = [
        md.Column("Evaluation", lambda name: experiment_link(paths.split_evaluation(name)[0], back(results), name)),
        md.Column("In the paper", lambda name: load_experiment(paths.split_evaluation(name)[0]).notes.row),
        md.Column("Here", partial(reached, results)),
    ]
    text = "\n## Experiments behind no row\n\nPrerequisites, numbers in running text, and figures.\n\n"
    return text + md.table(columns, dict.fromkeys(evaluations_beyond()))


def reached(results: Results, evaluation: str) -> str:
    """Return the first number of an evaluation: AP, average recall of proposals, or a classifier's top-1 error."""
    metrics = results.metrics(evaluation)
    if metrics is None:
        return TRAINED if results.training(paths.split_evaluation(evaluation)[0]) else md.NOT_RUN
    name = next((name for name in (METRICS[0], RECALLS[0], "top1_err") if name in metrics), None)
    return f"{name_of(name)} {md.percent(metrics[name])}" if name else md.MISSING


def back(results: Results) -> str:
    """Return the way from a preset's report to the project's root."""
    return os.path.relpath(".", paths.catalogue(results.name).parent)


def commands(results: Results) -> str:
    table = paths.table(results.name, "dst_t5").as_posix()
    text = "\n## Go on\n\n```sh\n"
    text += "make catalogue    # all of it, over as many sittings and clones as you like\n"
    text += "make tables       # this page and all tables from what there is\n"
    return text + f"snakemake --cores 2 {table}    # one table and whatever it needs\n```\n"
