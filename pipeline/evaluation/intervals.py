"""Intervals for a gain between experiments, from image sampling (paired bootstrap) and the noise of trainings."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, variance
from typing import NamedTuple

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


class Estimate(NamedTuple):
    """A gain: the mean of the blocks' differences, and what it is uncertain by, all in one unit."""

    gain: float
    blocks: int
    sd_block: float | None  # of one block's difference: pre-training and training
    dof: int  # of sd_block
    sd_images: float | None  # of the gain: the choice of test images, which all blocks share

    @property
    def known(self) -> bool:
        """Whether both kinds of noise are known, so that there is an interval."""
        return self.sd_block is not None and self.sd_images is not None and self.dof > 0

    def variances(self, images: float = 1.0, blocks: int | None = None) -> tuple[float, float]:
        """Return the gain's variance from trainings and from images, with so many blocks and times the images."""
        return self.sd_block**2 / (blocks or self.blocks), self.sd_images**2 / images

    def degrees(self, images: float = 1.0, blocks: int | None = None) -> int:
        """Return the degrees of freedom of Welch and Satterthwaite, rounded down.

        The images' variance, of hundreds of draws, counts as known.
        """
        trained, sampled = self.variances(images, blocks)
        dof = self.dof if blocks is None else max(self.dof, blocks - 1)
        return max(1, min(SURE, math.floor(dof * ((trained + sampled) / trained) ** 2))) if trained else SURE

    def half_width(self, level: float = 0.95, images: float = 1.0, blocks: int | None = None) -> float:
        """Return half the interval, by Student's t: a smaller gain cannot be told from none."""
        degrees = self.degrees(images, blocks)
        return t_quantile((1 + level) / 2, degrees) * math.sqrt(sum(self.variances(images, blocks)))

    @property
    def p(self) -> float | None:
        """The chance of a gain as far from zero, in either direction, if there were none; None where unknown."""
        if not self.known:
            return None
        deviation, degrees = math.sqrt(sum(self.variances())), self.degrees()
        if not deviation:
            return 1.0 if self.gain == 0 else 0.0
        t = abs(self.gain) / deviation
        return 2 * NormalDist().cdf(-t) if degrees >= SURE else 1 - _t_inside(t, degrees)

    def interval(self, level: float = 0.95) -> tuple[float | None, float | None]:
        """Return the ends of the interval, None where a part of the noise is unknown."""
        half = self.half_width(level) if self.known else None
        return (None, None) if half is None else (self.gain - half, self.gain + half)


SURE = 10_001  # degrees of freedom of what is known: the normal distribution


def estimate(
    differences: Sequence[float], sd_images: float | None, others: Sequence[Sequence[float]] = (), fixed: bool = False
) -> Estimate:
    """Return the gain between two experiments from the differences of their blocks.

    Args:
        differences: method minus baseline, block by block.
        sd_images: deviation of their mean over images, from the paired bootstrap.
        others: differences of further comparisons, whose deviation is pooled with this one's.
        fixed: whether the weights of both are the same, so that a single block has no noise of training.
    """
    own, dof = pooled_sd([differences, *others] if len(differences) > 1 else [])
    if own is None and fixed:
        own, dof = 0.0, SURE
    return Estimate(fmean(differences), len(differences), own, dof, sd_images)


def pooled_sd(groups: Sequence[Sequence[float]]) -> tuple[float | None, int]:
    """Return the deviation of single values, pooled over groups, and its degrees of freedom; (None, 0) without any."""
    repeats = [group for group in groups if len(group) > 1]
    dof = sum(len(group) - 1 for group in repeats)
    if dof == 0:
        return None, 0
    return math.sqrt(sum((len(group) - 1) * variance(group) for group in repeats) / dof), dof


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
