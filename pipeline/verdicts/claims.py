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
from pipeline.verdicts.comparison import judge_gain
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import Word, claim_holds, claim_word, judge_lead
from pipeline.verdicts.table_lines import Line, read_table

Tables = dict[str, list[Line]]  # a table's lines by its id
READINGS = Path("data/published/readings.yaml")
LABELS = Path("reports/benchmarks/annotation_statistics.json")  # of COCO, the same under every preset
KINDS = ("gains", "pairs", "best", "number", "annotations", "reason")


class Best(Options):
    """Rows of one table; the paper finds the first best of all."""

    metric: str
    rows: tuple[str, ...]


class Pair(Options):
    """Two evaluations of which a table has at most one, and the printed gain of the first over the second in points."""

    metric: str
    of: str
    over: str
    printed: float


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
    """How one claim is checked here: by exactly one of the kinds in `KINDS`."""

    gains: dict[str, float] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    best: tuple[Best, ...] = ()
    number: str = ""
    bound: Bound = Bound()
    unit: str = ""
    annotations: bool = False
    reason: str = ""


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


def _parts(results: Results, claim: Claim, tables: Tables) -> Iterator[Part]:
    reading = readings().get(claim.id)
    if claim.check:
        yield from (_checked(claim, check, tables) for check in claim.check)
    elif reading is None:
        reason = "quoted from other work" if claim.role == "quoted" else "no reading of it in data/published"
        yield Part(claim.how_to_check, verdict=Word.UNCHECKABLE, why=reason)
    elif reading.reason:
        yield Part(claim.how_to_check, verdict=Word.UNCHECKABLE, why=reading.reason)
    elif reading.number:
        yield _number(results, reading)
    elif reading.annotations:
        yield from _annotations(claim)
    else:
        yield from (_gain(cell, printed, tables) for cell, printed in reading.gains.items())
        yield from (_pair(results, pair) for pair in reading.pairs)
        yield from (_best(best, tables) for best in reading.best)


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


def _pair(results: Results, pair: Pair) -> Part:
    """Judge the gain of one evaluation over another, as a table's check is judged."""
    gain = judge_gain(results, pair.of, pair.over, pair.metric, pair.printed)
    found, what = gain.verdict, f"{name_of(pair.metric)}, {pair.of} over {pair.over}"
    word = claim_word(found.word, pair.printed == 0)
    files = (paths.metrics(results.name, name) for name in (pair.of, pair.over))
    root = paths.index(results.name).parent
    sources = tuple(path.relative_to(root).as_posix() for path in files if path.is_file())
    return Part(what, f"{pair.printed:+g}", gain.judged.text, word, found.sentence, sources)


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
    return Part(what, published, f"{found.value:.3g}", word, "one result, no interval", files)


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
