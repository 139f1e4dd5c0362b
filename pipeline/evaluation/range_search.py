"""Search for the valid ranges of an image pyramid's inference, for each method (SNIP, section 7.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

Range = tuple[float, float | None]
Ranges = tuple[Range, ...]
BOUNDS = (0.0, 16.0, 32.0, 48.0, 64.0, 80.0, 96.0, 120.0, 160.0, 200.0, 280.0, None)  # sqrt(w h), original COCO pixels


class Found(NamedTuple):
    """The best ranges found, their score, and the number of ranges tried."""

    ranges: Ranges
    score: float
    tried: int


def search_ranges(
    score: Callable[[Ranges], float | None],
    start: Ranges,
    bounds: Sequence[float | None] = BOUNDS,
    sweeps: int = 3,
) -> Found:
    """Raise a score by moving one end of one resolution's range at a time, until a sweep over all ends changes nothing.

    Args:
        score: maps ranges, a closed (lo, hi) on sqrt(w h) per resolution, to their score; None counts as 0.
        start: the first ranges; they are left only for a better score, so the result is at least as good.
        bounds: ends to try, in rising order; None is open and can only be an upper end.
        sweeps: most sweeps.

    Raises:
        ValueError: no resolution, or bounds that do not rise.

    Differs from the paper, which says that the best ranges were taken for each method, but not how they were found.
    """
    finite = [bound for bound in bounds if bound is not None]
    if not start or finite != sorted(set(finite)):
        raise ValueError(f"A search needs a range to start from and rising bounds, got {start} and {bounds}.")
    seen: dict[Ranges, float] = {}

    def value(ranges: Ranges) -> float:
        if ranges not in seen:
            seen[ranges] = score(ranges) or 0.0
        return seen[ranges]

    best = tuple(start)
    value(best)
    for _ in range(sweeps):
        before = best
        for level in range(len(best)):
            for end in (0, 1):
                for bound in bounds:
                    candidate = moved(best, level, end, bound)
                    if candidate is not None and value(candidate) > value(best):
                        best = candidate
        if best == before:
            break
    return Found(best, value(best), len(seen))


def moved(ranges: Ranges, level: int, end: int, bound: float | None) -> Ranges | None:
    """Return the ranges with one end of one level moved; None where the result is no range."""
    low, high = ranges[level]
    new = (bound, high) if end == 0 else (low, bound)
    if new[0] is None or (new[1] is not None and new[1] <= new[0]):
        return None
    return (*ranges[:level], new, *ranges[level + 1 :])
