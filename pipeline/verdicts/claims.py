"""The papers' claims, judged: by the checks in the tables, and by readings where a claim is no difference of cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
from msgspec import field

from pipeline import config, paths
from pipeline.errors import InputError
from pipeline.files import read_json, read_yaml
from pipeline.options import Options
from pipeline.published.columns import name_of
from pipeline.published.tables import Claim, load_published
from pipeline.reporting import markdown as md
from pipeline.reporting.summary import read_table
from pipeline.verdicts.claim_checks import UNCHECKABLE
from pipeline.verdicts.claim_numbers import NUMBERS, number
from pipeline.verdicts.results import Results

HOLDS, CONTRADICTED, UNDECIDED = "holds", "contradicted", "undecided"
ORDER = (CONTRADICTED, UNDECIDED, md.NOT_RUN, HOLDS, UNCHECKABLE)  # of several parts the first that occurs
READINGS = Path("data/published/readings.yaml")
LABELS = Path("reports/benchmarks/annotation_statistics.json")  # of COCO, the same under every preset
KINDS = ("gains", "best", "number", "annotations", "reason")


class Best(Options):
    """Rows of one table; the paper finds the first best of all."""

    metric: str
    rows: tuple[str, ...]


class Bound(Options):
    """What a number must be for a claim to hold."""

    least: float | None = None
    most: float | None = None
    about: float | None = None
    within: float = 0.0

    def holds(self, value: float) -> bool:
        if self.about is not None:
            return abs(value - self.about) <= self.within
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def text(self) -> str:
        if self.about is not None:
            return f"{self.about:g} ± {self.within:g}"
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"


class Reading(Options):
    """How one claim is checked here: by exactly one of `gains`, `best`, `number`, `annotations` and `reason`."""

    gains: dict[str, float] = field(default_factory=dict)
    best: tuple[Best, ...] = ()
    number: str = ""
    bound: Bound = Bound()
    unit: str = ""
    annotations: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Part:
    """One thing that a claim rests on."""

    claim: str
    what: str
    published: str
    ours: str
    verdict: str
    why: str
    sources: tuple[str, ...]  # paths of the files that ours comes from, relative to the preset's report


@cache
def readings() -> dict[str, Reading]:
    """Return how claims are checked that are no difference of printed cells. Raises InputError for a bad file."""
    raw = read_yaml(paths.ROOT / READINGS)
    for name, entry in raw.items():
        config.check_keys(entry, Reading, f"{READINGS}: {name}")
        if sum(key in entry for key in KINDS) != 1:
            raise InputError(f"{READINGS}: {name} must have exactly one of {', '.join(KINDS)}; correct it.")
        if entry.get("number", "scale_images") not in NUMBERS:
            raise InputError(f"{READINGS}: {name} names the unknown number {entry['number']!r}; correct it.")
    return {name: msgspec.convert(entry, Reading) for name, entry in raw.items()}


def judge_claims(results: Results, paper: str) -> dict[str, list[Part]]:
    """Return the parts of every claim of a paper, in its order."""
    published = load_published(paper)
    tables = {table.id: read_table(results.name, table.id) for table in published.tables}
    return {claim.id: list(_parts(results, claim, tables)) for claim in published.claims}


def verdict_of(parts: list[Part]) -> str:
    """Return a claim's verdict: contradicted or undecided where a part is, `not run` where one misses, else holds."""
    return next(word for word in ORDER if any(part.verdict == word for part in parts))


def _parts(results: Results, claim: Claim, tables: dict[str, list[dict[str, str]]]) -> Iterator[Part]:
    for check in claim.check:
        table = check.a.split("/")[0]
        lines = [line for line in tables[table] if line["kind"] == "claim" and line["row"] == claim.id]
        line = next((line for line in lines if (line["evaluation"], line["baseline"]) == (check.a, check.b)), None)
        yield _checked(claim, check.a, check.printed, line, table)
    if claim.check:
        return
    reading = readings().get(claim.id)
    if reading is None:
        reason = "quoted from other work" if claim.role == "quoted" else "no reading of it in data/published"
        yield Part(claim.id, claim.how_to_check, "", "", UNCHECKABLE, reason, ())
    elif reading.reason:
        yield Part(claim.id, claim.how_to_check, "", "", UNCHECKABLE, reading.reason, ())
    elif reading.number:
        yield _number(results, claim, reading)
    elif reading.annotations:
        yield from _annotations(claim)
    for cell, printed in (reading.gains if reading else {}).items():
        table, row, metric = cell.split("/")
        line = next((x for x in tables[table] if (x["kind"], x["row"], x["metric"]) == ("row", row, metric)), None)
        yield _gain(claim, cell, printed, line, table)
    for best in reading.best if reading else ():
        yield _best(claim, best, tables)


def _checked(claim: Claim, cell: str, printed: float, line: dict[str, str] | None, table: str) -> Part:
    what = f"{name_of(cell.split('/')[2])}, {cell.split('/')[1]}"
    if line is None:
        return Part(claim.id, what, f"{printed:g}", "", md.NOT_RUN, f"{table} was not made", ())
    verdict = _word(line["verdict"], zero=printed == 0)
    shown = float(line["published_gain"]) if line["published_gain"] else printed
    return Part(claim.id, what, f"{shown:+g}", _ours(line), verdict, line["why"], _table(table))


def _gain(claim: Claim, cell: str, printed: float, line: dict[str, str] | None, table: str) -> Part:
    """Judge the gain of a row over its baseline, whose sign the table's CSV has judged against the printed one."""
    what = f"gain in {name_of(cell.split('/')[2])}, {cell.split('/')[1]}"
    if line is None or not line["our_gain"]:
        return Part(claim.id, what, f"{printed:+g}", "", md.NOT_RUN, "", _table(table) if line else ())
    word = line["verdict"]
    if word in ("agrees", "contradicts", "decided up", "decided down"):
        word = "agrees" if (float(line["our_gain"]) > 0) == (printed > 0) else "contradicts"
    return Part(claim.id, what, f"{printed:+g}", _ours(line), _word(word), line["why"], _table(table))


def _best(claim: Claim, best: Best, tables: dict[str, list[dict[str, str]]]) -> Part:
    """Judge whether the paper's best row is ours too; a lead within the noise of one training decides nothing."""
    table, names = best.rows[0].split("/")[0], [row.split("/")[1] for row in best.rows]
    found = {
        line["row"]: line
        for line in tables[table]
        if line["kind"] == "row" and line["metric"] == best.metric and line["ours"] and line["row"] in names
    }
    what = f"best {name_of(best.metric)} of {', '.join(names)}"
    if set(found) != set(names):
        return Part(claim.id, what, names[0], "", md.NOT_RUN, "", _table(table) if found else ())
    ours = sorted(names, key=lambda name: -float(found[name]["ours"]))
    lead = float(found[ours[0]]["ours"]) - float(found[ours[1]]["ours"])
    noise = max((float(line["sd"]) for line in found.values() if line["sd"]), default=None)
    word = HOLDS if ours[0] == names[0] else CONTRADICTED
    why = f"{ours[0]} leads by {lead:.1f} points"
    if noise is None or lead < 2 * 2**0.5 * noise:
        word = UNDECIDED
        why += ", within two deviations of a difference" if noise is not None else "; run-to-run noise is unknown"
    return Part(claim.id, what, names[0], ours[0], word, why, _table(table))


def _number(results: Results, claim: Claim, reading: Reading) -> Part:
    found = number(results, reading.number)
    what, published = f"{reading.number.replace('_', ' ')}, {reading.unit}", reading.bound.text()
    root = paths.index(results.name).parent
    files = tuple(path.relative_to(root).as_posix() for path in found.files if path.is_file())
    if found.reason:
        return Part(claim.id, what, published, "", UNCHECKABLE, found.reason, files)
    if found.value is None:
        return Part(claim.id, what, published, "", md.NOT_RUN, "", ())
    ours = f"{found.value:.3g}"
    word = HOLDS if reading.bound.holds(found.value) else CONTRADICTED
    return Part(claim.id, what, published, ours, word, "one result, no interval", files)


def _annotations(claim: Claim) -> Iterator[Part]:
    """Read what COCO's own labels say; a printed number holds where one definition of it agrees."""
    rows = read_json(LABELS)["rows"] if LABELS.is_file() else []
    own = [row for row in rows if row["claim"] == claim.id]
    if not own:
        yield Part(claim.id, claim.how_to_check, "", "", md.NOT_RUN, f"{LABELS} has no row of it", ())
    for row in own:
        values = {name: value for name, value in row["ours"].items() if value is not None}
        published = f"{'above ' if row['rule'] == 'above' else ''}{row['published']:g}"
        source = (f"../benchmarks/{LABELS.stem}.md",)
        if not values:
            yield Part(
                claim.id, row["what"], published, "", UNCHECKABLE, "these data are no part of the project", source
            )
            continue
        name = min(row["fits"] or values, key=lambda name: abs(values[name] - row["published"]))
        word = HOLDS if row["fits"] else CONTRADICTED
        yield Part(claim.id, row["what"], published, f"{values[name]:g} ({name})", word, "", source)


def _word(verdict: str, zero: bool = False) -> str:
    """Return a claim's word for a row's verdict; a printed difference of zero is contradicted by any decided one."""
    words = {"agrees": HOLDS, "contradicts": CONTRADICTED, UNCHECKABLE: UNCHECKABLE}
    if verdict in ("decided up", "decided down") and zero:
        return CONTRADICTED
    if verdict in ("not run", "n/a", "not timed", "not counted"):
        return md.NOT_RUN
    return words.get(verdict, UNDECIDED)


def _ours(line: dict[str, str]) -> str:
    if not line["our_gain"]:
        return ""
    low, high = (float(line[key]) if line[key] else None for key in ("low", "high"))
    digits = 1 if line["unit"] == "percent" else 3
    text = md.number(float(line["our_gain"]), digits, sign=True)
    return f"{text} {md.interval(low, high)}".strip()


def _table(name: str) -> tuple[str, ...]:
    return (f"tables/{name}.md",)
