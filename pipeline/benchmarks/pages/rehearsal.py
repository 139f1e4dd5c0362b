"""The page of the rehearsal, from its JSON alone."""

from __future__ import annotations

from typing import Any

from pipeline.benchmarks.pages.layers import machine_line
from pipeline.reporting.markdown import cell, number, percent, plural, table


def rehearsal_page(result: dict[str, Any]) -> str:
    """Return the Markdown page."""
    current = [row for row in result["rows"] if row["code"] == result["code"]]
    papers = [row for row in current if row["of_the_papers"]]
    done = [row for row in papers if not row["failure"]]
    failed = [row for row in current if row["failure"]]
    seconds = sorted(row["seconds"] for row in current)
    tests = sum(len(row["tests"]) for row in done)
    machine = machine_line(result["machine"], {"memory_format": "channels_last"})
    text = f"# Rehearsal of every experiment\n\n{machine}\n\n"
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
        lines = [[f"`{row['name']}`", cell(row["failure"])] for row in failed]
        text += f"## Failures\n\n{table(['Experiment', 'Message'], lines, 'll')}\n"
    header = ["Experiment", "Stages", "Steps", "Losses", "Tests: detections on images", "Seconds"]
    for detector in sorted({row["detector"] for row in current}):
        lines = [line(row) for row in current if row["detector"] == detector]
        text += f"## {detector}\n\n{table(header, lines, 'lrrllr')}\n"
    return text + "Made by `python -m pipeline.benchmarks.rehearsal`, which goes on where it stopped.\n"


def line(row: dict[str, Any]) -> list[str]:
    """Return the cells of one experiment; of a classifier, its error in the place of detections."""
    losses = " → ".join(number(loss, 3) for loss in row["losses"])
    tests = [f"{name}: {found['detections']} on {found['images']}" for name, found in row["tests"].items()]
    if row["top1_error"] is not None:
        tests.append(f"top-1 error {percent(row['top1_error'])} %")
    name = f"`{row['name']}`" + ("" if row["of_the_papers"] else " (no row of a paper)")
    return [name, str(len(row["stages"])), str(row["steps"] or ""), losses, "<br>".join(tests), number(row["seconds"])]
