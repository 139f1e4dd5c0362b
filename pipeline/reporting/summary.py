"""Tables read back from their CSV: counts of verdicts, and one line a method."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from pipeline import paths
from pipeline.files import read_text
from pipeline.verdicts.rule import DECIDED


@dataclass(frozen=True)
class Counts:
    """Rows of a table, or of several: compared ones, decided ones, and each word's number."""

    compared: int
    decided: int
    not_run: int  # the paper's own rows that this preset does not have, and rows without a result
    words: dict[str, int]


@dataclass(frozen=True, eq=False)
class Method:
    """One compared row, as its table's CSV holds it; gains in points of 100, None where there is none."""

    name: str
    table: str
    evaluation: str
    baseline: str
    ap: float | None
    gains: dict[str, tuple[float | None, float | None, float | None, str]]  # metric: gain, low, high, verdict
    costs: dict[str, str]  # parameters_total_ratio, macs_ratio
    stand_in: bool = False  # the baseline is another than the paper's
    trainings: int = 1  # behind `ap` and the gains; several are means


def read_table(preset: str, name: str, headline: bool = False) -> list[dict[str, str]]:
    """Return the lines of a table's CSV (`tables.FIELDS`), none where the table does not exist.

    `headline` takes the table of the quickstart's rows in the place of the full one, here and below.
    """
    path = (paths.headline if headline else paths.table)(preset, name, "csv")
    return list(csv.DictReader(io.StringIO(read_text(path)))) if path.is_file() else []


def count_verdicts(lines: list[dict[str, str]], metric: str) -> Counts:
    """Count the verdicts of one metric."""
    words: dict[str, int] = {}
    for line in lines:
        if line["kind"] == "row" and line["metric"] == metric and line["baseline"]:
            words[line["verdict"]] = words.get(line["verdict"], 0) + 1
    decided = sum(count for word, count in words.items() if word in DECIDED)
    not_run = sum(line["kind"] == "not run" for line in lines) + words.get("not run", 0)
    return Counts(sum(words.values()), decided, not_run, dict(sorted(words.items())))


def methods_of(preset: str, tables: list[str], headline: bool = False) -> list[Method]:
    """Return every compared row of some tables, in order; a name says what the gain is over where that is not plain."""
    methods = []
    for name in tables:
        lines = read_table(preset, name, headline)
        names = {line["evaluation"]: line["method"] for line in lines if line["kind"] == "row" and line["baseline"]}
        stand_ins = {line["evaluation"] for line in lines if line["row"].startswith("stand_in__")}
        rows = dict.fromkeys(line["row"] for line in lines if line["kind"] == "row" and line["baseline"])
        for row in rows:
            own = [line for line in lines if line["row"] == row and line["kind"] in ("row", "cost")]
            by_metric = {line["metric"]: line for line in own}
            first = by_metric["ap"]
            gains = {
                metric: (*(_number(line[key]) for key in ("our_gain", "low", "high")), line["verdict"])
                for metric, line in by_metric.items()
                if line["kind"] == "row"
            }
            several = {line["metric"]: line for line in lines if line["row"] == row and line["kind"] == "seeds"}
            costs = {metric: line["ours"] for metric, line in by_metric.items() if metric.endswith("_ratio")}
            label = first["method"]
            if first["baseline"] in names:
                label += f" (over {names[first['baseline']]})"
            if first["baseline"] in stand_ins:
                label += " (over a stand-in baseline)"
            trainings = int(several["ap"]["seeds"]) if "ap" in several else 1
            if trainings > 1:
                label += f" (means of {trainings} trainings)"
            ours = several.get("ap", first)["ours"]
            found = (label, name, first["evaluation"], first["baseline"], _number(ours))
            methods.append(Method(*found, gains, costs, first["baseline"] in stand_ins, trainings))
    return methods


def baseline_ap50(preset: str, tables: list[str], headline: bool = False) -> list[float]:
    """Return the AP50 of every baseline row of some tables that was run, each evaluation once."""
    found: dict[str, float] = {}
    for name in tables:
        for line in read_table(preset, name, headline):
            if line["kind"] == "row" and line["metric"] == "ap50" and line["verdict"] == "baseline" and line["ours"]:
                found[line["evaluation"]] = float(line["ours"])
    return sorted(found.values())


def _number(text: str) -> float | None:
    return float(text) if text else None
