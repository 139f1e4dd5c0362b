"""Tables read back from their CSV, the only reader there is: typed lines, counts of verdicts, and one line a method."""

import csv
import io
from collections import Counter
from dataclasses import dataclass

from pipeline import markdown as md
from pipeline import paths
from pipeline.errors import InputError
from pipeline.files import read_text
from pipeline.verdicts.rule import Judged, Word

TEXTS = ("kind", "row", "label", "method", "evaluation", "baseline", "metric", "unit", "size", "why")
FIELDS = (
    *TEXTS[:-2],
    *("published", "ours", "published_gain", "our_gain", "low", "high", "p", "verdict", "size", "why", "blocks", "sd"),
)

LONGER = 1.1  # times its baseline's images


@dataclass(frozen=True)
class Line:
    """One line of a table: a row and metric, a cost, a claim; numbers in the CSV's unit, None where a cell is empty."""

    kind: str
    row: str
    label: str
    method: str
    evaluation: str
    baseline: str
    metric: str
    unit: str
    published: float | None
    ours: float | None
    published_gain: float | None
    our_gain: float | None
    low: float | None
    high: float | None
    p: float | None
    verdict: Word | None
    size: str
    why: str
    blocks: float | None
    sd: float | None
    text: dict[str, str]  # its cells as they are written

    @property
    def judged(self) -> Judged:
        return Judged(self.our_gain, self.low, self.high, self.verdict)

    @property
    def compared(self) -> bool:
        """Whether it is a row whose gain over a baseline is judged."""
        return self.kind == "row" and bool(self.baseline)

    def of_row(self, metric: str) -> bool:
        """Whether it says whether a row was run; a row of scores says so in every metric, here in one."""
        return self.kind in ("not run", "scale", "speed") or (self.kind, self.metric) == ("row", metric)


@dataclass(frozen=True)
class Counts:
    """Rows of a table, or of several: compared ones that were run, decided ones, and each word's number."""

    compared: int
    decided: int
    not_run: int  # rows without a result, baselines too, and the paper's own that this preset does not have
    words: dict[Word, int]  # of compared rows, run or not

    def __str__(self) -> str:
        return ", ".join(f"{count} {word}" for word, count in self.words.items())


@dataclass(frozen=True, eq=False)
class Method:
    """One compared row of the headline's tables."""

    name: str
    table: str
    evaluation: str
    baseline: str
    ap: float | None
    gains: dict[str, Judged]  # by metric
    costs: dict[str, str]  # parameters_total_ratio, macs_ratio, images_ratio
    stand_in: bool = False  # the baseline is another than the paper's
    blocks: int = 1  # that `ap` is the mean of

    @property
    def cost(self) -> str:
        """Parameters, multiply-adds and images seen in training as multiples of the baseline's."""
        ratios = [self.costs.get(f"{key}_ratio") for key in ("parameters_total", "macs", "images")]
        return ", ".join(f"{ratio}x" if ratio else md.MISSING for ratio in ratios)

    @property
    def longer(self) -> bool:
        """Whether its weights saw so many more images in training than its baseline's that its gain may be of that."""
        return float(self.costs.get("images_ratio", 1)) > LONGER


def read_table(preset: str, name: str, headline: bool = False) -> list[Line]:
    """Return the lines of a table's CSV (`headline`: of its rows alone), none where the table does not exist."""
    path = (paths.headline if headline else paths.table)(preset, name, "csv")
    if not path.is_file():
        return []
    try:
        return [line_of(cells) for cells in csv.DictReader(io.StringIO(read_text(path)))]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no table of this version ({error}); make it again.") from error


def line_of(cells: dict[str, str]) -> Line:
    """Return a line from its cells. Raises KeyError or ValueError for cells of another kind of table."""
    found = {name: cells[name] if name in TEXTS else float(cells[name]) if cells[name] else None
             for name in FIELDS if name != "verdict"}  # fmt: skip
    return Line(**found, verdict=Word(cells["verdict"]) if cells["verdict"] else None, text=cells)


def read_headlines(preset: str, tables: list[str]) -> list[Line]:
    """Return the lines of several tables of the headline."""
    return [line for name in tables for line in read_table(preset, name, headline=True)]


def main_metric(lines: list[Line]) -> str:
    """Return the metric that decides a table: that of its first row."""
    return next((line.metric for line in lines if line.kind == "row"), "ap")


def count_verdicts(lines: list[Line], metric: str) -> Counts:
    """Count the verdicts of one metric."""
    words = Counter(line.verdict for line in lines if line.compared and line.metric == metric)
    decided = sum(count for word, count in words.items() if word.decided)
    ran = words.total() - words[Word.NOT_RUN]
    not_run = len({line.row for line in lines if line.verdict == Word.NOT_RUN and line.of_row(metric)})
    return Counts(ran, decided, not_run, dict(sorted(words.items())))


def methods_of(preset: str, tables: list[str], headline: bool = False) -> list[Method]:
    """Return every compared row of some tables, in order; a name says what the gain is over where that is not plain."""
    return [
        method_of(name, lines, row)
        for name in tables
        for lines in [read_table(preset, name, headline)]
        for row in dict.fromkeys(line.row for line in lines if line.compared)
    ]


def method_of(table: str, lines: list[Line], row: str) -> Method:
    """Return a compared row of a table as one method."""
    own = {(line.kind, line.metric): line for line in lines if line.row == row}
    first = own["row", "ap"]
    names = {line.evaluation: line.method for line in lines if line.compared}
    stand_in = any(line.evaluation == first.baseline and line.row.startswith("stand_in__") for line in lines)
    label = first.method
    label += f" (over {names[first.baseline]})" if first.baseline in names else ""
    label += " (over a stand-in baseline)" if stand_in else ""
    gains = {metric: line.judged for (kind, metric), line in own.items() if kind == "row"}
    costs = {metric: line.text["ours"] for (kind, metric), line in own.items() if kind == "cost" and "_ratio" in metric}
    blocks = int(first.blocks or 0)
    return Method(label, table, first.evaluation, first.baseline, first.ours, gains, costs, stand_in, blocks)


def baseline_ap50(preset: str, tables: list[str]) -> list[float]:
    """Return the AP50 of every baseline row of the headline's tables that was run, each evaluation once."""
    lines = [x for x in read_headlines(preset, tables) if (x.kind, x.metric, x.verdict) == ("row", "ap50", "baseline")]
    return sorted({line.evaluation: line.ours for line in lines if line.ours is not None}.values())
