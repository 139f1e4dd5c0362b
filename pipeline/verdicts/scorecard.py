"""How well all comparisons together agree with the papers: signs, what chance decides, sizes that are excluded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pipeline.verdicts.rule import EXCLUDED, Word
from pipeline.verdicts.table_lines import Line, main_metric

FALSE_DISCOVERIES = 0.05  # share of the decided comparisons that may be decided by chance (Benjamini and Hochberg)
LEVEL = 0.05  # of one comparison
DRAWS = 2000  # of tables with replacement
COUNTED = (Word.AGREES, Word.CONTRADICTS, Word.UP, Word.DOWN, Word.UNDECIDED)
SIZES = ("ap_small", "ap_medium", "ap_large")


@dataclass(frozen=True)
class Agreement:
    """How many of some gains have the sign that the paper prints, with a 95 % interval of the share."""

    agree: int
    of: int
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Scorecard:
    """Counts over distinct comparisons, each once however many tables show it."""

    compared: int  # that have an interval
    decided: int
    by_chance: float  # of them, expected to be decided if no method did anything
    survive: int  # decided with at most a share of `FALSE_DISCOVERIES` false ones among them
    printed: int  # comparisons with an interval and a published gain
    excluded: int  # published gains outside of our interval


def distinct(tables: dict[str, list[Line]], metric: str | None = None) -> list[tuple[str, Line]]:
    """Return table and line of every comparison, each evaluation and baseline once.

    Args:
        tables: the lines of every table by its name.
        metric: the compared one; None takes the one that decides each table.
    """
    found: dict[tuple[str, str], tuple[str, Line]] = {}
    for name, lines in tables.items():
        wanted = metric or main_metric(lines)
        for line in lines:
            if line.compared and line.metric == wanted and line.verdict in COUNTED and line.our_gain is not None:
                found.setdefault((line.evaluation, line.baseline), (name, line))
    return list(found.values())


def scorecard(lines: Sequence[Line]) -> Scorecard:
    """Return the counts of some distinct comparisons."""
    judged = [line for line in lines if line.p is not None]
    printed = [line for line in judged if line.published_gain is not None and line.size]
    return Scorecard(
        compared=len(judged),
        decided=sum(line.verdict.decided for line in judged),
        by_chance=LEVEL * len(judged),
        survive=len(discoveries([line.p for line in judged])),
        printed=len(printed),
        excluded=sum(line.size == EXCLUDED for line in printed),
    )


def discoveries(p: Sequence[float], rate: float = FALSE_DISCOVERIES) -> list[int]:
    """Return the places of the p-values that Benjamini and Hochberg's procedure keeps at a rate of false ones.

    Of m values, in rising order, the largest k with p_k <= rate k / m is kept with all before it.
    """
    order = sorted(range(len(p)), key=lambda place: p[place])
    kept = max((k for k, place in enumerate(order, 1) if p[place] <= rate * k / len(p)), default=0)
    return sorted(order[:kept])


def decided_alone(tables: dict[str, list[Line]], metric: str) -> set[tuple[str, str]]:
    """Return evaluation and baseline of what is decided in a metric by itself, and not among all its comparisons."""
    judged = [line for _, line in distinct(tables, metric) if line.p is not None]
    kept = discoveries([line.p for line in judged])
    return {
        (line.evaluation, line.baseline)
        for place, line in enumerate(judged)
        if line.verdict.decided and place not in kept
    }


def agreement(found: Sequence[tuple[str, Line]]) -> Agreement:
    """Return how many gains have the printed sign, with the wider of two intervals of the share.

    One takes the gains as independent (Wilson's of a share), the other draws whole tables, whose rows share a baseline;
    of few tables the latter alone would be too narrow.
    """
    signed = [(table, line) for table, line in found if line.published_gain and line.our_gain]
    same = [(table, (line.our_gain > 0) == (line.published_gain > 0)) for table, line in signed]
    agree, of = sum(s for _, s in same), len(same)
    shares = np.array([[sum(s for t, s in same if t == name), sum(t == name for t, _ in same)]
                       for name in dict.fromkeys(t for t, _ in same)], dtype=float)  # fmt: skip
    if len(shares) < 2:
        return Agreement(agree, of, None, None)
    drawn = shares[np.random.default_rng(0).integers(len(shares), size=(DRAWS, len(shares)))].sum(axis=1)
    ends = (*np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975]), *wilson(agree, of))
    return Agreement(agree, of, float(min(ends)), float(max(ends)))


def wilson(count: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """Return the ends of Wilson's interval of a share."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre, half = count + z**2 / 2, z * (count * (of - count) / of + z**2 / 4) ** 0.5
    return max(0.0, (centre - half) / (of + z**2)), min(1.0, (centre + half) / (of + z**2))


def grouped(
    found: Sequence[tuple[str, Line]], key: Callable[[str], Hashable]
) -> dict[Hashable, list[tuple[str, Line]]]:
    """Return comparisons by a key of their table's name (its paper)."""
    groups: dict[Hashable, list[tuple[str, Line]]] = {}
    for table, line in found:
        groups.setdefault(key(table), []).append((table, line))
    return groups
