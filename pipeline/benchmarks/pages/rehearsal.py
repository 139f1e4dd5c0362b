"""The page of the rehearsal, from its JSON alone."""

from typing import Any

from pipeline.benchmarks.pages.parts import machine_line
from pipeline.markdown import Column, number, percent, plural, table


def rehearsal_page(result: dict[str, Any]) -> str:
    """Return the Markdown page."""
    current = [row for row in result["rows"] if row["code"] == result["code"]]
    papers = [row for row in current if row["of_the_papers"]]
    done = [row for row in papers if not row["failure"]]
    failed = [row for row in current if row["failure"]]
    seconds = sorted(row["seconds"] for row in current)
    tests = sum(len(row["tests"]) for row in done)
    text = f"# Rehearsal of every experiment\n\n{machine_line(result['machine'])}\n\n"
    text += f"Preset `{result['preset']}`: {result['title']}. Every stage of an experiment ran as `dvc repro` runs it, "
    text += "in a scratch folder. The numbers below say that something was computed, not how good it is.\n\n"
    text += f"**{len(done)} of {plural(result['experiments'], 'experiment')} of the papers ran through all their "
    text += f"stages** with finite losses, {tests} evaluations among them; {len(failed)} failed. With "
    text += f"{plural(len(current) - len(papers), 'init and further experiment', 'inits and further experiments')}: "
    text += f"{sum(seconds):.0f} s"
    text += f", the slowest {seconds[-1]:.1f} s.\n\n" if seconds else ".\n\n"
    older = len(result["rows"]) - len(current)
    if older:
        text += f"{plural(older, 'row')} of an earlier state of the code left out.\n\n"
    if failed:
        text += f"## Failures\n\n{table(FAILURES, failed)}\n"
    for detector in sorted({row["detector"] for row in current}):
        text += f"## {detector}\n\n{table(COLUMNS, [row for row in current if row['detector'] == detector])}\n"
    return text + "Made by `python -m pipeline.benchmarks.rehearsal`, which goes on where it stopped.\n"


def tests_of(row: dict[str, Any]) -> str:
    """Return what every test found; of a classifier, its error in the place of detections."""
    tests = [f"{name}: {found['detections']} on {found['images']}" for name, found in row["tests"].items()]
    if row["top1_error"] is not None:
        tests.append(f"top-1 error {percent(row['top1_error'])} %")
    return "<br>".join(tests)


FAILURES = (Column("Experiment", lambda row: f"`{row['name']}`"), Column("Message", lambda row: row["failure"]))
COLUMNS = (
    Column("Experiment", lambda row: f"`{row['name']}`" + ("" if row["of_the_papers"] else " (no row of a paper)")),
    Column("Stages", lambda row: len(row["stages"]), "r"),
    Column("Steps", lambda row: row["steps"] or "", "r"),
    Column("Losses", lambda row: " → ".join(number(loss, 3) for loss in row["losses"])),
    Column("Tests: detections on images", tests_of),
    Column("Seconds", lambda row: number(row["seconds"]), "r"),
)
