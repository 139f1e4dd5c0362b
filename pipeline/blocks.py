"""Blocks: trainings of one experiment that differ in their seed only, and the files that hold all of them.

Every init of block 3 is pre-trained with its seed, and every experiment of block 3 draws the same images in the same
order, so that a gain is the mean of the blocks' differences. A stage trains, or tests, all blocks of its experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from statistics import fmean
from typing import Any

EVERY = "every_block"  # in the header of weights that nobody trained here: they are those of all blocks
PART = "block{}/"  # in front of the names of all blocks but the first, whose file is that of a single training


def joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the named values of all blocks as one mapping; `part_of` takes it apart."""
    return {f"{prefix(number)}{name}": value for number, part in enumerate(parts, 1) for name, value in part.items()}


def prefix(block: int) -> str:
    return "" if block == 1 else PART.format(block)


def names_of(block: int, names: Sequence[str]) -> dict[str, str]:
    """Return the names of a block, without what stands in front of them: joined name -> own name."""
    if block == 1:
        return {name: name for name in names if not _later(name)}
    own = prefix(block)
    return {name: name.removeprefix(own) for name in names if name.startswith(own)}


def count(names: Sequence[str]) -> int:
    """Return how many blocks joined names have; 0 without any."""
    return max((int(name[5 : name.index("/")]) if _later(name) else 1 for name in names), default=0)


def listed(parts: Sequence[Any]) -> Any:
    """Return the values of all blocks as JSON has them: that of a single block as it is."""
    return parts[0] if len(parts) == 1 else {"blocks": list(parts)}


def unlisted(value: Any) -> list[Any]:
    """Return what each block has in a file of `listed`."""
    return value["blocks"] if isinstance(value, dict) and "blocks" in value else [value]


def summary(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return facts of all blocks: their means in the form of one, and each block's own under `blocks`."""
    return parts[0] if len(parts) == 1 else {**averaged(parts), "blocks": list(parts)}


def averaged(parts: Sequence[Any]) -> Any:
    """Return the mean of values of one form: numbers, and those inside of lists and dictionaries.

    A number that some do not have is the mean of the others; a list of numbers that ends earlier has zeros there. What
    has no mean is the first one's.
    """
    first = parts[0]
    if all(part == first for part in parts):
        return first
    if all(isinstance(part, dict) for part in parts):
        keys = dict.fromkeys(key for part in parts for key in part)
        return {key: averaged([part[key] for part in parts if key in part]) for key in keys}
    if all(part is None or _number(part) for part in parts):
        return round(mean(parts), 6)
    if all(isinstance(part, list) for part in parts):
        if all(map(_number, chain(*parts))):
            return [averaged(items) for items in zip_longest(*parts, fillvalue=0)]
        if len({len(part) for part in parts}) == 1:
            return [averaged(items) for items in zip(*parts, strict=True)]
    return first


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the numbers that exist; None where none does."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _later(name: str) -> bool:
    return name.startswith("block") and "/" in name and name[5 : name.index("/")].isdigit()
