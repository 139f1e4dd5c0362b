"""The papers' claims, judged: by the checks in the tables, and by readings where a claim is no difference of cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
from msgspec import field

from pipeline import config, paths
from pipeline import markdown as md
from pipeline.errors import InputError
from pipeline.files import read_json, read_yaml
from pipeline.options import Options
from pipeline.published.columns import name_of
from pipeline.published.tables import Check, Claim, load_published
from pipeline.verdicts.claim_numbers import NUMBERS, number
from pipeline.verdicts.claim_runs import Judgement, Margin, Pair, judge_margin, judge_pair
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import Word, claim_holds, claim_word, judge_lead
from pipeline.verdicts.table_lines import Line, read_table

Tables = dict[str, list[Line]]  # a table's lines by its id
READINGS = Path("data/published/readings.yaml")
LABELS = Path("reports/benchmarks/annotation_statistics.json")  # of COCO, the same under every preset
KINDS = ("cells", "gains", "best", "pairs", "margins", "number", "annotations", "reason", "parts")


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
    """How one claim is checked here, in the place of its differences of printed cells: by exactly one of `KINDS`.

    `cells`: by those differences; `parts`: by several readings.
    """

    cells: bool = False
    gains: dict[str, float] = field(default_factory=dict)
    best: tuple[Best, ...] = ()
    pairs: tuple[Pair, ...] = ()
    margins: tuple[Margin, ...] = ()
    number: str = ""
    bound: Bound = Bound()
    unit: str = ""
    annotations: bool = False
    reason: str = ""
    parts: tuple[Reading, ...] = ()

    @property
    def all(self) -> tuple[Reading, ...]:
        """This reading, or the several that it consists of."""
        return self.parts or (self,)


@dataclass(frozen=True)
class Part:
    """One thing that a claim rests on."""

    what: str
    published: str = ""
    ours: str = ""
    verdict: Word = Word.NOT_RUN
    why: str = ""
    sources: tuple[str, ...] = ()  # paths of the files that ours comes from, relative to the preset's report


@cache
def readings() -> dict[str, Reading]:
    """Return how claims are checked that are no difference of printed cells. Raises InputError for a bad file."""
    raw = read_yaml(paths.ROOT / READINGS)
    for name, entry in raw.items():
        config.check_keys(entry, Reading, f"{READINGS}: {name}")
        for part in (entry, *entry.get("parts", ())):
            if sum(key in part for key in KINDS) != 1:
                raise InputError(f"{READINGS}: {name} must have exactly one of {', '.join(KINDS)}; correct it.")
            if part.get("number", "scale_images") not in NUMBERS:
                raise InputError(f"{READINGS}: {name} names the unknown number {part['number']!r}; correct it.")
    return {name: msgspec.convert(entry, Reading) for name, entry in raw.items()}


def judge_claims(results: Results, paper: str) -> dict[str, list[Part]]:
    """Return the parts of every claim of a paper, in its order."""
    published = load_published(paper)
    tables = {table.id: read_table(results.name, table.id) for table in published.tables}
    return {claim.id: list(_parts(results, claim, tables)) for claim in published.claims}


def _parts(results: Results, claim: Claim, tables: Tables) -> Iterator[Part]:
    reading = readings().get(claim.id)
    if reading is None and not claim.check:
        reason = "quoted from other work" if claim.role == "quoted" else "no reading of it in data/published"
        yield Part(claim.how_to_check, verdict=Word.UNCHECKABLE, why=reason)
    for part in (Reading(cells=True),) if reading is None else reading.all:
        yield from _read(results, claim, tables, part)


def _read(results: Results, claim: Claim, tables: Tables, reading: Reading) -> Iterator[Part]:
    """Give what one reading says."""
    if reading.reason:
        yield Part(claim.how_to_check, verdict=Word.UNCHECKABLE, why=reading.reason)
    elif reading.number:
        yield _number(results, reading)
    elif reading.annotations:
        yield from _annotations(claim)
    elif reading.cells:
        yield from (_checked(claim, check, tables) for check in claim.check)
    else:
        yield from (_gain(cell, printed, tables) for cell, printed in reading.gains.items())
        yield from (_best(best, tables) for best in reading.best)
        yield from (_run(results, pair, judge_pair(results, pair), pair.published) for pair in reading.pairs)
        yield from (_run(results, margin, judge_margin(results, margin), "above 0") for margin in reading.margins)


def _run(results: Results, claimed: Pair | Margin, found: Judgement, published: str) -> Part:
    there = tuple(file for file in claimed.files if (paths.index(results.name).parent / file).is_file())
    return Part(claimed.what, published, found.ours, found.word, found.why, there)


def _checked(claim: Claim, check: Check, tables: Tables) -> Part:
    table, row, metric = check.a.split("/")
    what, found = f"{name_of(metric)}, {row}", ("claim", claim.id, check.a, check.b)
    line = next((x for x in tables[table] if (x.kind, x.row, x.evaluation, x.baseline) == found), None)
    if line is None:
        return Part(what, f"{check.printed:g}", why=f"{table} was not made")
    shown = check.printed if line.published_gain is None else line.published_gain
    return Part(what, f"{shown:+g}", _ours(line), claim_word(line.verdict, check.printed == 0), line.why, _page(table))


def _gain(cell: str, printed: float, tables: Tables) -> Part:
    """Judge the gain of a row over its baseline: a decided one holds where it has the sign of the printed one."""
    table, row, metric = cell.split("/")
    what = f"gain in {name_of(metric)}, {row}"
    line = next((x for x in tables[table] if (x.kind, x.row, x.metric) == ("row", row, metric)), None)
    if line is None or line.our_gain is None:
        return Part(what, f"{printed:+g}", sources=_page(table) if line else ())
    word = claim_holds(line.judged.up == (printed > 0)) if line.verdict.decided else claim_word(line.verdict)
    return Part(what, f"{printed:+g}", _ours(line), word, line.why, _page(table))


def _best(best: Best, tables: Tables) -> Part:
    """Judge whether the paper's best row is ours too."""
    table, names = best.rows[0].split("/")[0], [row.split("/")[1] for row in best.rows]
    own = [line for line in tables[table] if (line.kind, line.metric) == ("row", best.metric) and line.row in names]
    found = {line.row: line for line in own if line.ours is not None}
    what = f"best {name_of(best.metric)} of {', '.join(names)}"
    if set(found) != set(names):
        return Part(what, names[0], sources=_page(table) if found else ())
    first, second, *_ = sorted(names, key=lambda name: -found[name].ours)
    lead = found[first].ours - found[second].ours
    noise = max((line.sd for line in found.values() if line.sd is not None), default=None)
    word, why = judge_lead(first == names[0], lead, noise)
    return Part(what, names[0], first, word, f"{first} leads by {lead:.1f} points{why}", _page(table))


def _number(results: Results, reading: Reading) -> Part:
    found = number(results, reading.number)
    what, published = f"{reading.number.replace('_', ' ')}, {reading.unit}", reading.bound.text()
    root = paths.index(results.name).parent
    files = tuple(path.relative_to(root).as_posix() for path in found.files if path.is_file())
    if found.reason:
        return Part(what, published, verdict=Word.UNCHECKABLE, why=found.reason, sources=files)
    if found.value is None:
        return Part(what, published)
    word = claim_holds(reading.bound.holds(found.value))
    return Part(what, published, f"{found.value:.3g}", word, found.note, files)


def _annotations(claim: Claim) -> Iterator[Part]:
    """Read what COCO's own labels say; a printed number holds where one definition of it agrees."""
    rows = read_json(LABELS)["rows"] if LABELS.is_file() else []
    own = [row for row in rows if row["claim"] == claim.id]
    if not own:
        yield Part(claim.how_to_check, why=f"{LABELS} has no row of it")
    for row in own:
        values = {name: value for name, value in row["ours"].items() if value is not None}
        published = f"{'above ' if row['rule'] == 'above' else ''}{row['published']:g}"
        if values:
            name = min(row["fits"] or values, key=lambda name: abs(values[name] - row["published"]))
            told = (f"{values[name]:g} ({name})", claim_holds(bool(row["fits"])), "")
        else:
            told = ("", Word.UNCHECKABLE, "these data are no part of the project")
        yield Part(row["what"], published, *told, (f"../benchmarks/{LABELS.stem}.md",))


def _ours(line: Line) -> str:
    if line.our_gain is None:
        return ""
    text = md.number(line.our_gain, 1 if line.unit == "percent" else 3, sign=True)
    return f"{text} {md.interval(line.low, line.high)}".strip()


def _page(table: str) -> tuple[str, ...]:
    return (f"tables/{table}.md",)
