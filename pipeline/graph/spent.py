"""The core-hours that a preset's results took, kept beside them: `reports/<preset>/hours.csv` and `hours.md`.

Builds write them (`make headline`, `make catalogue`, `make compare`): what a stage took is no result, so it is no
stage's output and no page is out of date for it. A plain `dvc repro` adds nothing.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import config, paths
from pipeline import markdown as md
from pipeline.errors import InputError
from pipeline.files import read_text, write_text
from pipeline.graph.declared import Stage
from pipeline.graph.work import COUNTED
from pipeline.processor import cpu_model

KINDS = {"pretrain": "pre-training", "train": "training"}  # all else is testing


class Spent(NamedTuple):
    """What one stage took, over all sittings until it ended."""

    stage: str
    experiment: str
    blocks: int  # trained or tested in it
    core_seconds: float
    ended: bool
    processor: str

    @property
    def kind(self) -> str:
        return KINDS.get(self.stage.partition("@")[0], "testing")


def place(preset: str, suffix: str = "csv") -> Path:
    return paths.ROOT / paths.index(preset).with_name(f"hours.{suffix}")


def add(events: Iterable[Mapping[str, Any]], known: Mapping[str, Stage], preset: str, cores: int) -> None:
    """Add to a preset's record what stages took that run networks.

    Args:
        events: of jobs that ended (`pipeline.graph.job`).
        known: all stages by address.
        preset: whose stages they are.
        cores: processors that one stage uses.
    """
    found = load(preset)
    for event in events:
        name = known[event["stage"]].name if event["stage"] in known else ""
        if event.get("ran") and name.partition("@")[0] in COUNTED:
            before = found.get(name)
            experiment = paths.split_evaluation(name.partition("@")[2])[0]
            blocks = blocks_of(experiment, preset)
            adds = before and (not before.ended or blocks > before.blocks)  # of more blocks only the new ones ran
            begun = before.core_seconds if adds else 0.0
            seconds = round(begun + cores * event["seconds"], 1)
            found[name] = Spent(name, experiment, blocks, seconds, not event["exit"], cpu_model())
            write(preset, found)


def blocks_of(experiment: str, preset: str) -> int:
    """Return how many trainings an experiment has."""
    try:
        return config.resolve(experiment, preset).blocks
    except InputError:
        return 1


def load(preset: str) -> dict[str, Spent]:
    """Return the record of a preset by stage. Raises InputError where the file is not as it was written."""
    path = place(preset)
    if not path.is_file():
        return {}
    try:
        rows = csv.DictReader(io.StringIO(read_text(path)))
        found = [
            Spent(
                row["stage"],
                row["experiment"],
                int(row["blocks"]),
                float(row["core_seconds"]),
                row["ended"] == "True",
                row["processor"],
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path} is no record of hours ({error!r}); remove it, and the next build begins one."
        ) from None
    return {one.stage: one for one in found}


def write(preset: str, found: Mapping[str, Spent]) -> None:
    """Write a preset's record, sorted by stage, and its page."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(Spent._fields)
    writer.writerows(found[name] for name in sorted(found))
    write_text(place(preset), output.getvalue())
    write_text(place(preset, "md"), page(preset, list(found.values())))


def page(preset: str, found: list[Spent]) -> str:
    """Return the page: the sum, by kind of work and by experiment."""
    kinds = ("pre-training", "training", "testing")
    rows: dict[str, list[Spent]] = {}
    for one in found:
        rows.setdefault(one.experiment, []).append(one)
    columns = [
        md.Column("Experiment", lambda row: row[0]),
        md.Column("Trainings", lambda row: max(one.blocks for one in row[1]), "r"),
        *(
            md.Column(f"{kind.capitalize()}, core-hours", lambda row, kind=kind: hours(row[1], kind), "r")
            for kind in kinds
        ),
        md.Column("All", lambda row: hours(row[1]), "r"),
    ]
    text = f"# Core-hours, preset {preset}\n\n**{hours(found)} core-hours** in all: "
    text += md.listing([f"{kind} {hours(found, kind)}" for kind in kinds])
    text += f". Measured on {md.listing(sorted({one.processor for one in found}))}: a job's time by the clock times "
    text += "the cores that it may use, so they hold what it waited for beside the machine's other work.\n\n"
    unfinished = [one.experiment for one in found if not one.ended]
    text += f"Not finished: {md.listing(sorted(set(unfinished)))}.\n\n" if unfinished else ""
    text += md.table(columns, sorted(rows.items(), key=lambda row: -sum(one.core_seconds for one in row[1])))
    return text + "\n[Data](hours.csv), a stage a row.\n"


def hours(found: Iterable[Spent], kind: str | None = None) -> str:
    return md.number(sum(one.core_seconds for one in found if kind in (None, one.kind)) / 3600, 2)
