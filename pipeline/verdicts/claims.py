"""The papers' claims, judged: by the checks in the tables, and by readings of what is no difference of printed cells.

A part is judged by the one rule of `rule.CLAIM_RULE`; a gain always by its interval (`claim_checks.claimed_gain`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from pipeline.published.bounds import Bound
from pipeline.published.columns import name_of
from pipeline.published.tables import Check, Claim, Published, load_published
from pipeline.verdicts.baselines import find_baseline
from pipeline.verdicts.claim_checks import claimed_gain
from pipeline.verdicts.claim_numbers import NUMBERS, number
from pipeline.verdicts.claim_runs import Margin, Pair, judge_margin
from pipeline.verdicts.comparison import Gain
from pipeline.verdicts.networks import cut
from pipeline.verdicts.results import Results, load_experiment
from pipeline.verdicts.rule import Word, claim_holds, claim_word
from pipeline.verdicts.table_lines import Line, read_table

Tables = dict[str, list[Line]]  # a table's lines by its id
READINGS = Path("data/published/readings.yaml")
LABELS = Path("reports/benchmarks/annotation_statistics.json")  # of COCO, the same under every preset
KINDS = ("gains", "pairs", "margins", "best", "number", "annotations", "reason")


class Best(Options):
    """Rows of one table; the paper finds the first best of all."""

    metric: str
    rows: tuple[str, ...]


class Reading(Options):
    """How a part of a claim is checked here: by exactly one of `KINDS`; gains, pairs and a number may have a bound.

    Gains without one are judged by the printed sign.
    """

    gains: dict[str, float] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    margins: tuple[Margin, ...] = ()
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
def readings() -> dict[str, tuple[Reading, ...]]:
    """Return how claims are checked beside differences of printed cells. Raises InputError for a bad file."""
    raw = {n: found if isinstance(found, list) else [found] for n, found in read_yaml(paths.ROOT / READINGS).items()}
    for name, entry in ((name, entry) for name, entries in raw.items() for entry in entries):
        config.check_keys(entry, Reading, f"{READINGS}: {name}")
        if sum(key in entry for key in KINDS) != 1:
            raise InputError(f"{READINGS}: {name} must have exactly one of {', '.join(KINDS)}; correct it.")
        if entry.get("number", "scale_images") not in NUMBERS:
            raise InputError(f"{READINGS}: {name} names the unknown number {entry['number']!r}; correct it.")
        unbounded = "number" in entry or any("printed" not in pair for pair in entry.get("pairs", ()))
        if unbounded and "bound" not in entry:
            raise InputError(f"{READINGS}: {name} has nothing to compare with; give it a bound.")
    return {name: tuple(msgspec.convert(entry, Reading) for entry in entries) for name, entries in raw.items()}


def judge_claims(results: Results, paper: str) -> dict[str, list[Part]]:
    """Return the parts of every claim of a paper, in its order."""
    published = load_published(paper)
    tables = {table.id: read_table(results.name, table.id) for table in published.tables}
    return {claim.id: list(_parts(results, claim, tables)) for claim in published.claims}


def _parts(results: Results, claim: Claim, tables: Tables) -> Iterator[Part]:
    published = load_published(claim.id.split("_")[0])
    yield from (_checked(results, published, claim, check, tables) for check in claim.check)
    found = readings().get(claim.id, ())
    if not claim.check and not found:
        reason = "quoted from other work" if claim.role == "quoted" else "no reading of it in data/published"
        yield Part(claim.how_to_check, verdict=Word.UNCHECKABLE, why=reason)
    for reading in found:
        if reading.reason:
            yield Part(claim.how_to_check, verdict=Word.UNCHECKABLE, why=reading.reason)
        elif reading.number:
            yield _number(results, reading)
        elif reading.annotations:
            yield from _annotations(claim)
        yield from (_gain(results, published, reading, cell) for cell in reading.gains)
        yield from (_pair(results, reading, pair) for pair in reading.pairs)
        yield from (_margin(results, margin) for margin in reading.margins)
        yield from (part for best in reading.best for part in _best(results, published, best))


def _checked(results: Results, published: Published, claim: Claim, check: Check, tables: Tables) -> Part:
    table, row, metric = check.a.split("/")
    what = f"{name_of(metric)}, {row}{_cut(results, published.table(table).row(row).experiments)}"
    found = ("claim", claim.id, check.a, check.b)
    line = next((x for x in tables[table] if (x.kind, x.row, x.evaluation, x.baseline) == found), None)
    if line is None:
        return Part(what, f"{check.printed:g}", why=f"{table} was not made")
    shown = check.printed if line.published_gain is None else line.published_gain
    told = check.bound.of(shown).text() if check.bound else f"{shown:+g}"
    return Part(what, told, _ours(line), claim_word(line.verdict), line.why, _page(table))


def _gain(results: Results, published: Published, reading: Reading, cell: str) -> Part:
    """Judge the gain of a row over its baseline."""
    name, row, metric = cell.split("/")
    table, printed = published.table(name), reading.gains[cell]
    own, bound = table.row(row), reading.bound.of(printed)
    baseline, _ = find_baseline(published, table, own)
    gain = claimed_gain(results, own.evaluation, baseline, metric, printed, bound)
    told = bound.text() if bound else f"{printed:+g}"
    return _of_gain(f"gain in {name_of(metric)}, {row}{_cut(results, own.experiments)}", told, gain, _page(name))


def _pair(results: Results, reading: Reading, pair: Pair) -> Part:
    """Judge the gain of one evaluation over another."""
    bound = reading.bound.of(pair.printed or 0.0)
    gain = claimed_gain(results, pair.of, pair.over, pair.metric, pair.printed, bound)
    return _of_gain(pair.what, bound.text() if bound else f"{pair.printed:+g}", gain, pair.files)


def _margin(results: Results, margin: Margin) -> Part:
    """Judge whether one gain is larger than another."""
    found = judge_margin(results, margin)
    sources = margin.files if found.ours else ()
    return Part(margin.what, "above 0", found.ours, found.word, found.why, sources)


BEST = Bound(above=0.0)


def _best(results: Results, published: Published, best: Best) -> Iterator[Part]:
    """Judge whether the paper's best row is ours: its gain over each of the others."""
    name, rows = best.rows[0].split("/")[0], [row.split("/")[1] for row in best.rows]
    first, *others = (published.table(name).row(row) for row in rows)
    for other in others:
        gain = claimed_gain(results, first.evaluation, other.evaluation, best.metric, None, BEST)
        yield _of_gain(f"{name_of(best.metric)}, {first.id} over {other.id}", BEST.text(), gain, _page(name))


def _of_gain(what: str, told: str, gain: Gain, sources: tuple[str, ...]) -> Part:
    sources = sources if gain.ours is not None else ()
    return Part(what, told, gain.judged.text, claim_word(gain.verdict.word), gain.verdict.sentence, sources)


def _cut(results: Results, experiments: tuple[str, ...]) -> str:
    """Say of a row whose backbone the preset cuts to a shallower one what it is here."""
    name = load_experiment(experiments[-1]).backbone if experiments else ""
    here = cut(name, results.preset.model)
    return f" ({here} here)" if here != name else ""


def _number(results: Results, reading: Reading) -> Part:
    found = number(results, reading.number)
    what, published = f"{reading.number.replace('_', ' ')}, {reading.unit}", reading.bound.text()
    files = _relative(results, found.files)
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
        values = {n: value for n, value in row["ours"].items() if value is not None and n.endswith(row["by"])}
        published = f"{row['published']:g}" if row["rule"] == "within" else f"{row['rule']} {row['published']:g}"
        if values:
            name = min(row["fits"] or values, key=lambda name: abs(values[name] - row["published"]))
            told = (f"{values[name]:g} ({name})", claim_holds(bool(row["fits"])), "")
        else:
            told = ("", Word.UNCHECKABLE, "these data are no part of the project")
        yield Part(row["what"], published, *told, (f"../benchmarks/{LABELS.stem}.md",))


def _ours(line: Line) -> str:
    if line.our_gain is None:
        return ""
    text = md.number(line.our_gain, 1 if line.unit == "percent" else 3, sign=line.unit != "times")
    return f"{text} {md.interval(line.low, line.high)}".strip()


def _relative(results: Results, files: Iterable[Path]) -> tuple[str, ...]:
    """Return files that exist, relative to the preset's report."""
    root = paths.index(results.name).parent
    return tuple(path.relative_to(root).as_posix() for path in files if path.is_file())


def _page(table: str) -> tuple[str, ...]:
    return (f"tables/{table}.md",)
