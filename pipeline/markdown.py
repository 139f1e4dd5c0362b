"""Markdown and number formats of all pages: APs in percent with one decimal, missing values in words."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

MISSING = "n/a"  # a metric that does not exist
NOT_RUN = "not run"  # an experiment without a result
MARKS = {"l": ":--", "r": "--:", "c": ":-:"}
STATISTICS = {
    "object_share": "objects that are",
    "image_share": "images that hold",
    "relative_scale": "relative scale,",
}


class Column(NamedTuple):
    """One column of a table: its header, what its cell says of an item, and its alignment (`l`, `r` or `c`)."""

    header: str
    cell: Callable[[Any], object]
    align: str = "l"


def table(columns: Sequence[Column], items: Iterable[Any]) -> str:
    """Return a Markdown table with a row an item; None is an empty cell, and no text can break one."""
    lines = [[column.header for column in columns], [MARKS[column.align] for column in columns]]
    lines += [[_escaped(column.cell(item)) for column in columns] for item in items]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _escaped(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def number(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """Return a number with fixed decimals, `n/a` for None, and no signed zero."""
    if value is None:
        return MISSING
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def as_printed(value: float | None, sign: bool = False) -> str:
    """Return a paper's number with the decimals that it has, one at least and three at most; `n/a` for None."""
    digits = next((count for count in (1, 2) if value is not None and round(value, count) == round(value, 3)), 3)
    return number(value, digits, sign)


def percent(fraction: float | None, digits: int = 1) -> str:
    """Return a fraction of 1 in percent, without the sign `%`."""
    return number(None if fraction is None else 100 * fraction, digits)


def interval(low: float | None, high: float | None) -> str:
    """Return `[low, high]` with signs, empty where there is no interval."""
    return "" if low is None or high is None else f"[{number(low, sign=True)}, {number(high, sign=True)}]"


def gain(value: float | None, low: float | None, high: float | None) -> str:
    """Return a signed gain with its interval behind it."""
    return " ".join(part for part in (number(value, sign=True), interval(low, high)) if part)


def times(ratio: float | None) -> str:
    """Return `1.07x`, empty for None."""
    return "" if ratio is None else f"{ratio:.2f}x"


def integer(value: int | None) -> str:
    """Return an integer with separators, empty for None."""
    return "" if value is None else f"{value:,}"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Return `1 row`, `2 rows`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def listing(words: Sequence[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else "none"


def csv_text(header: Sequence[str], rows: Iterable[dict[str, object]]) -> str:
    """Return CSV with a header line and Unix line ends; None is an empty cell."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(header), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def statistic_name(name: str) -> str:
    """Return `objects that are small` for `object_share_small`, and so on."""
    stem, _, last = name.rpartition("_")
    return f"{STATISTICS.get(stem, stem)} {last.replace('q', '') + ' % quantile' if last.startswith('q') else last}"
