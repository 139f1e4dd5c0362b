"""The catalogue of a preset: every table that the papers print, and the experiments behind their text and figures."""

from __future__ import annotations

import os

from pipeline import paths
from pipeline.files import read_yaml, write_text
from pipeline.published.columns import kind_of, name_of
from pipeline.published.papers import NAMES
from pipeline.published.rows import is_classifier
from pipeline.published.tables import Table, load_published
from pipeline.reporting import markdown as md
from pipeline.reporting.context import comparability, numbers_of
from pipeline.reporting.summary import count_verdicts, read_table
from pipeline.verdicts.comparison import METRICS, RECALLS
from pipeline.verdicts.results import Results, load_experiment

CATALOGUE = "data/published/experiments.yaml"  # every experiment of the papers, by name


def write_catalogue(preset: str) -> None:
    """Write `catalogue.md` of a preset."""
    write_text(paths.catalogue(preset), catalogue_page(Results(preset)))


def catalogue_page(results: Results) -> str:
    """Return the list of all published tables with what came of their rows, paper by paper."""
    tables = [table for paper in paths.PAPERS for table in load_published(paper).tables]
    lines = {table.id: table_line(results, table) for table in tables}
    own, run, compared, decided = (sum(line[1][i] for line in lines.values()) for i in range(4))
    text = f"# All tables, preset {results.name}\n\n{numbers_of(results)} {comparability(results)}\n\n"
    text += f"{md.plural(len(tables), 'table')} with {own} rows of the papers' own: **{run} have a result here**; "
    text += f"**{decided} of {compared}** compared rows decided. A row stands in several tables where the paper prints "
    text += "it in several. [Back](README.md).\n"
    header = ["Table", "Shows", "Rows", "With a result", "Compared", "Decided", "Verdicts"]
    for paper in paths.PAPERS:
        rows = [lines[table.id][0] for table in tables if table.id.startswith(f"{paper}_")]
        text += f"\n## {NAMES[paper]}\n\n{md.table(header, rows, 'llrrrrl')}"
    return text + further_section(results) + commands(results)


def table_line(results: Results, table: Table) -> tuple[list[str], tuple[int, int, int, int]]:
    """Return a table's line, and its numbers of own rows, rows with a result, compared rows and decided ones."""
    lines = read_table(results.name, table.id)
    own = sum(row.ours for row in table.rows)
    ids = {row.id for row in table.rows}
    # A count needs no training: every network has its parameters.
    told = [line for line in lines if line["ours"] and line["kind"] != "cost" and kind_of(line["metric"]) != "count"]
    run = len(ids & {line["row"] for line in told})
    main = next((line["metric"] for line in lines if line["kind"] == "row"), "ap")
    counts = count_verdicts(lines, main)
    words = counts.words
    if not counts.compared:
        named = {line["row"]: line["verdict"] for line in lines if line["kind"] in ("row", "scale", "speed")}
        words = {word: list(named.values()).count(word) for word in sorted(set(named.values()))}
    said = ", ".join(f"{count} {word}" for word, count in words.items()) or "not made"
    label = f"[{table.id}](tables/{table.id}.md)" if lines else table.id
    cells = [label, md.cell(table.title), *map(str, (own, run, counts.compared, counts.decided)), said]
    return cells, (own, run, counts.compared, counts.decided)


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
    rows = []
    for evaluation in dict.fromkeys(evaluations_beyond()):
        experiment = paths.split_evaluation(evaluation)[0]
        link = f"[`{evaluation}`]({back(results)}/{paths.experiment_file(experiment).as_posix()})"
        rows.append([link, md.cell(load_experiment(experiment).notes.row), reached(results, evaluation)])
    text = "\n## Experiments behind no row\n\nPrerequisites, numbers in running text, and figures.\n\n"
    return text + md.table(["Evaluation", "In the paper", "Here"], rows)


def reached(results: Results, evaluation: str) -> str:
    """Return the first number of an evaluation: AP, average recall of proposals, or a classifier's top-1 error."""
    metrics = results.metrics(evaluation)
    if metrics is None:
        return md.NOT_RUN
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
