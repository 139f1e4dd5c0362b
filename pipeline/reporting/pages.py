"""One page a paper: its claim, what was run, tables, figures, facts, gallery, and the commands that rebuild them."""

import re
from pathlib import Path

from pipeline import markdown as md
from pipeline import paths
from pipeline.files import read_text, write_text
from pipeline.published.papers import CLAIMS, FIGURES, FIGURES_OF, NAMES, PAIRS
from pipeline.published.rows import drawn, load_rows
from pipeline.published.tables import exists, find_table, load_published
from pipeline.reporting.context import data_of, judged, numbers_of
from pipeline.reporting.facts import figure_data, learnt_facts
from pipeline.verdicts.baselines import headline_tables
from pipeline.verdicts.results import Results, load_experiment
from pipeline.verdicts.table_lines import count_verdicts, read_headlines

ONCE = ("- These are", "- Differs from the paper")  # said under the first table only
NOT_RUN = "Nothing of this paper was run here yet.\n"


def write_page(paper: str, preset: str) -> None:
    """Write `papers/<paper>.md` of a preset. Raises InputError for an unknown paper."""
    write_text(paths.page(preset, paper), paper_page(Results(preset), paper))


def paper_page(results: Results, paper: str) -> str:
    """Return one paper's page."""
    published = load_published(paper).paper
    venue = f", {published.venue}" if published.venue else f", {published.year}"
    text = f"# {NAMES[paper]} under preset {results.name}\n\n*{published.title}*{venue}. [All papers](../index.md).\n\n"
    text += f"**The paper's claim.** {CLAIMS[paper]}\n\n" if paper in CLAIMS else ""
    text += f"**Here.** {numbers_of(results, '../')}\n\n"
    text += verdict_sentences(results, paper)
    facts = learnt_facts(results, paper)
    if facts:
        text += "\n## What happened in these runs\n\n" + "".join(f"- {fact}\n" for fact in facts)
    text += f"\n## What was run\n\n{experiments_list(results, paper)}\n## Tables\n"
    seen: set[str] = set()
    for name in headline_tables(paper):
        text += "\n" + embedded_table(results, name, seen)
    if results.reproduces() and results.judges:
        text += (
            f"\n## Claims\n\n[Every claim of {NAMES[paper]}](../claims/{paper}.md) with its numbers, from all tables "
        )
        text += "of the paper; those that the rows above can check stand under their tables.\n"
    text += "\n## Figures\n"
    for name in (*FIGURES_OF.get(paper, ()), "ap_by_size", "loss"):
        if figure_data(results, name):
            text += f"\n![{FIGURES[name]}](../figures/{name}.png)\n\n{FIGURES[name]} [Data](../figures/{name}.csv).\n"
        else:
            text += f"\nNot run, so not drawn: {FIGURES[name][0].lower()}{FIGURES[name][1:]}\n"
    if paper in PAIRS:
        text += f"\n## Gallery\n\n{gallery_section(results, paper)}"
    return f"{text}\n## Rebuild\n\n{commands(results, paper)}"


def verdict_sentences(results: Results, paper: str) -> str:
    """Return a table of this paper's compared rows with both verdicts, and how many were decided."""
    lines = read_headlines(results.name, headline_tables(paper))
    counts, small = (count_verdicts(lines, metric) for metric in ("ap", "ap_small"))
    if not counts.compared:
        return "No method of this paper is compared here yet.\n"
    gains = {(line.row, line.metric): line.judged for line in lines if line.kind == "row"}
    columns = [md.Column("Method", lambda line: line.method)]
    for metric, title in (("ap", "AP gain, points"), ("ap_small", "AP small gain, points")):
        columns += [
            md.Column(title, lambda line, metric=metric: gains[line.row, metric].text, "r"),
            md.Column("Verdict", lambda line, metric=metric: gains[line.row, metric].word),
        ]
    if not results.judges:
        return md.table(judged(results, columns), [line for line in lines if line.compared and line.metric == "ap"])
    text = f"Of the compared rows that were run **{counts.decided} of {counts.compared}** are decided by AP, "
    text += f"**{small.decided} of {small.compared}** by AP of small objects; brackets are 95 % intervals.\n\n"
    return text + md.table(columns, [line for line in lines if line.compared and line.metric == "ap"])


def experiments_list(results: Results, paper: str) -> str:
    """Return what was trained, one bullet an experiment, with its place in the paper and its file."""
    tables = [find_table(name, headline=True)[1] for name in headline_tables(paper)]
    names = dict.fromkeys(row.experiments[-1] for table in tables for row in table.rows if exists(row))
    trained = [name for name in names if results.training(name) is not None]
    if not trained:
        return NOT_RUN
    text = f"Data: {data_of(results)}. Cells of tables are means over an experiment's trainings.\n\n"
    for name in trained:
        notes = load_experiment(name).notes
        file = f"../../../{paths.experiment_file(name).as_posix()}"
        text += f"- [`{name}`]({file}): {notes.row}. At full size: {notes.cost}.\n"
    return text


def embedded_table(results: Results, name: str, seen: set[str]) -> str:
    """Return a table's Markdown two headings deeper, its links from here, without small print that was said above."""
    path = paths.headline(results.name, name)
    if not path.is_file():
        return f"### {name}\n\nThis table was not made yet: `dvc repro page_{name.split('_')[0]}`.\n"
    lines = []
    for line in read_text(path).splitlines():
        if line.startswith(ONCE):
            if line in seen:
                continue
            seen.add(line)
        line = re.sub(r"^(#+) ", r"##\1 ", line)
        lines.append(re.sub(r"\]\((\w+\.csv)\)", r"](../headline/\1)", line))
    return "\n".join(lines) + "\n"


def gallery_section(results: Results, paper: str) -> str:
    """Link the gallery, or say where it lies on the machine that ran it where pictures may not be published."""
    picture = paths.gallery(results.name) / f"{paper}.png"
    baseline, method = drawn(paper, load_rows(paper))
    what = f"Annotations, `{baseline}` and `{method}` on the same validation images"
    if results.published_images():
        if not picture.is_file():
            return f"Not drawn: it takes the detections of `{baseline}` and `{method}`, which git does not hold.\n"
        return f"![{what}](../gallery/{picture.name})\n\n{what}. [How they were chosen](../gallery/{paper}.md).\n"
    return f"{what}: `{picture.as_posix()}` on the machine that ran this. Pictures of photographs are not in git.\n"


def commands(results: Results, paper: str) -> str:
    """Return the commands that rebuild this page and its tables."""
    tables = "".join(
        f"dvc repro workflow/papers/{paper}/tables/dvc.yaml:headline_{name}\n" for name in headline_tables(paper)
    )
    page = Path(paths.page(results.name, paper)).as_posix()
    text = f"With `preset: {results.name}` in `params.yaml`:\n\n```sh\n"
    text += f"dvc repro page_{paper}    # this page and whatever it needs\n"
    text += f"{tables}snakemake --cores 2 {page}\n```\n"
    return text
