"""The threshold that a training without DST proposes: the median over steps of the small objects' share of its loss.

DST, section 4.3: the threshold of 0.1 "happens to be coincident with the ratio observation covering half of the
training iterations". The authors offer this as a heuristic for other data, from a baseline trained on a small subset.
"""

import math
from collections.abc import Sequence
from typing import Any

from pipeline import paths
from pipeline.errors import InputError
from pipeline.files import write_json
from pipeline.verdicts.results import Results

PAPER_THRESHOLD = 0.1
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
FINEST = 0.001  # a proposal of 0 would never draw a collage: the comparison is strict


def quantile(counts: Sequence[int], level: float) -> float:
    """Return a quantile of the share from its histogram over steps.

    Steps are assumed to be spread evenly over their hundredth, so the result is within 0.01 of the exact one.

    Args:
        counts: steps in [0, 0.01), [0.01, 0.02), ...; the empty ones at the end may be missing (`History.histogram`).
        level: part of the steps, in [0, 1].

    Raises:
        ValueError: there is no step, or the level is outside [0, 1].
    """
    total = sum(counts)
    if not total or not 0 <= level <= 1:
        raise ValueError(f"quantile needs steps and a level in [0, 1], found {total} steps and level {level}.")
    wanted, before = level * total, 0
    for place, count in enumerate(counts):
        if count and before + count >= wanted:
            return (place + (wanted - before) / count) / 100
        before += count
    return len(counts) / 100


def part_below(counts: Sequence[int], share: float) -> float:
    """Return the part of the steps whose share is below `share`, if steps spread evenly over their hundredth."""
    total = sum(counts)
    if not total:
        raise ValueError("part_below needs steps, found none.")
    whole = math.floor(share * 100 + 1e-9)
    part = min(max(share * 100 - whole, 0.0), 1.0)
    inside = counts[whole] * part if whole < len(counts) else 0.0
    return (sum(counts[:whole]) + inside) / total


def rounded_threshold(median: float) -> float:
    """Round a median share to a threshold of two digits, at least 0.001."""
    if median < FINEST:
        return FINEST
    return round(median, 1 - math.floor(math.log10(median)))


def describe_shares(results: Results, experiment: str) -> dict[str, Any]:
    """Return the shares of a training and the threshold that they propose.

    Shares are those of all steps where the training's summary has their histogram, otherwise the window means of its
    history, which hide the spread over steps; `source` says which.

    Raises:
        InputError: the training was not run, or no step had a share.
    """
    file, rows = paths.history(results.name, experiment), results.history(experiment)
    if not rows:
        raise InputError(f"{file} does not exist or is empty; train {experiment} under this preset first.")
    counts = (results.training(experiment) or {}).get("small_share_histogram")
    source = "steps"
    if not counts:
        shares = [row["small_share"] for row in rows if row.get("small_share") is not None]
        counts, source = histogram_of(shares), "windows"
    if not sum(counts):
        raise InputError(
            f"{file} holds no small_share: {experiment} logged no loss of single objects in any step; name a "
            "detector that does (Faster R-CNN, RetinaNet, FCOS)."
        )
    median = quantile(counts, 0.5)
    return {
        "experiment": experiment,
        "source": source,
        "counted": sum(counts),
        "window_steps": int(rows[0]["step"]),
        "quantiles": {f"{level:g}": round(quantile(counts, level), 4) for level in QUANTILES},
        "paper_threshold": PAPER_THRESHOLD,
        "below_paper_threshold": round(part_below(counts, PAPER_THRESHOLD), 4),
        "proposed_threshold": rounded_threshold(median),
        "means": {size: mean_share(rows, f"{size}_share") for size in ("small", "medium", "large")},
    }


def histogram_of(shares: Sequence[float]) -> list[int]:
    """Return the number of shares in each hundredth; the last hundredth includes 1."""
    counts = [0] * 100
    for share in shares:
        counts[min(int(share * 100 + 1e-9), 99)] += 1
    return counts


def mean_share(rows: Sequence[dict[str, float | None]], column: str) -> float | None:
    """Return the mean of a column over a history's windows, None where it is empty."""
    values = [row[column] for row in rows if row.get(column) is not None]
    return round(sum(values) / len(values), 4) if values else None


def write_shares(preset: str, experiment: str) -> None:
    """Write `paths.loss_share` of a training."""
    write_json(paths.loss_share(preset, experiment), describe_shares(Results(preset), experiment))
