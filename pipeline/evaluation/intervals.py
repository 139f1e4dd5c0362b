"""Intervals for a gain between two trainings, from image sampling (paired bootstrap) and run-to-run noise."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np


def paired_interval(
    base: Sequence[float | None], other: Sequence[float | None], level: float = 0.95
) -> tuple[float | None, float | None, float | None]:
    """Return percentiles (low, high) and the standard deviation of `other - base` over paired bootstrap draws.

    Draws in which either metric does not exist are left out; with fewer than two draws left, all three are None.

    Raises:
        ValueError: the two have different numbers of draws and cannot be paired.
    """
    if len(base) != len(other):
        raise ValueError(f"Paired replicates have equal numbers of draws, got {len(base)} and {len(other)}.")
    differences = np.array([b - a for a, b in zip(base, other, strict=True) if a is not None and b is not None])
    if len(differences) < 2:
        return None, None, None
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), float(differences.std(ddof=1))


def gain_sd(sd_boot: float, sd_run: float, runs: tuple[int, int] = (1, 1)) -> float:
    """Return the standard deviation of a gain: sqrt(sd_boot^2 + sd_run^2 (1/n_base + 1/n_other))."""
    return math.sqrt(sd_boot**2 + sd_run**2 * (1 / runs[0] + 1 / runs[1]))


def gain_interval(
    gain: float, sd_boot: float, sd_run: float, dof: int, level: float = 0.95, runs: tuple[int, int] = (1, 1)
) -> tuple[float, float]:
    """Return gain -+ t * `gain_sd`, with Student's t at the run-to-run noise's degrees of freedom.

    Args:
        gain: difference of two APs; any unit, the same for all.
        sd_boot: standard deviation of the gain over images, from `paired_interval`.
        sd_run: run-to-run standard deviation of ONE training's AP, estimated with `dof` degrees of freedom. The image
            part has far more of them, so using `dof` for the sum makes the interval rather too wide.
        runs: the numbers of trainings that the base's and the other's AP are means of.
    """
    half = t_quantile((1 + level) / 2, dof) * gain_sd(sd_boot, sd_run, runs)
    return gain - half, gain + half


def smallest_detectable_gain(
    sd_boot: float, sd_run: float, dof: int, level: float = 0.95, runs: tuple[int, int] = (1, 1)
) -> float:
    """Return the half-width of `gain_interval`: a smaller gain cannot be distinguished from none."""
    return t_quantile((1 + level) / 2, dof) * gain_sd(sd_boot, sd_run, runs)


def pooled_run_sd(groups: Sequence[Sequence[float | None]]) -> tuple[float | None, int]:
    """Return one run's deviation, pooled over groups of repeats, and its degrees of freedom; (None, 0) without any."""
    present = [[value for value in group if value is not None] for group in groups]
    repeats = [np.asarray(group, dtype=np.float64) for group in present if len(group) > 1]
    dof = sum(len(group) - 1 for group in repeats)
    if dof == 0:
        return None, 0
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in repeats)
    return math.sqrt(squares / dof), dof


def t_quantile(probability: float, dof: int) -> float:
    """Return Student's t quantile for a probability in [0.5, 1) and an integer number of degrees of freedom.

    It bisects the closed form of Abramowitz & Stegun, 26.7.3 and 26.7.4; above 10,000 it is the normal quantile.
    """
    if not 0.5 <= probability < 1 or dof < 1 or dof != int(dof):
        raise ValueError(f"t_quantile needs 0.5 <= probability < 1 and whole dof >= 1, got {probability} and {dof}.")
    if dof > 10_000:
        return NormalDist().inv_cdf(probability)
    inside, low, high = 2 * probability - 1, 0.0, 1.0
    while _t_inside(high, int(dof)) < inside:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _t_inside(middle, int(dof)) < inside else (low, middle)
    return high


def _t_inside(t: float, dof: int) -> float:
    """Return P(|T| < t)."""
    angle = math.atan2(t, math.sqrt(dof))
    sine, cosine = math.sin(angle), math.cos(angle)
    term, total = (cosine if dof % 2 else 1.0), 0.0
    for j in range(1 + dof % 2, dof, 2):  # odd: cos + 2/3 cos^3 + ...; even: 1 + 1/2 cos^2 + ...
        total += term
        term *= j / (j + 1) * cosine**2
    return 2 / math.pi * (angle + sine * total) if dof % 2 else sine * total
