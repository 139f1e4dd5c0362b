"""How many blocks tell a gain of some size from none, and whether halves of the blocks agree with each other."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist, fmean
from typing import NamedTuple

from pipeline.evaluation.intervals import Estimate, estimate, t_quantile

POWER = 0.8
MOST = 64  # blocks that are asked for at most


def power(gain: float, noise: Estimate, blocks: int, images: float = 1.0, level: float = 0.95) -> float:
    """Return the chance that the interval of a true gain excludes zero on its side.

    Args:
        gain: the true one, in the unit of the noise.
        noise: an estimate whose deviations are known.
        blocks: trainings of method and baseline.
        images: times as many test images as those of the estimate.
    """
    deviation = sum(noise.variances(images, blocks)) ** 0.5
    if not deviation:
        return 1.0
    quantile = t_quantile((1 + level) / 2, noise.degrees(images, blocks))
    return NormalDist().cdf(abs(gain) / deviation - quantile)


def blocks_needed(gain: float, noise: Estimate, images: float = 1.0) -> int | None:
    """Return the fewest blocks with a power of `POWER`; None where more than `MOST` would not do."""
    return next((n for n in range(2, MOST + 1) if power(gain, noise, n, images) >= POWER), None)


def images_needed(gain: float, noise: Estimate) -> float | None:
    """Return how many times the test images give a power of `POWER` with as many blocks, to a half; None above `MOST`.

    Raises:
        ValueError: the deviations are unknown.
    """
    if not noise.known:
        raise ValueError("images_needed takes an estimate whose deviations are known.")
    return next((n / 2 for n in range(2, 2 * MOST + 1) if power(gain, noise, noise.blocks, n / 2) >= POWER), None)


class Halves(NamedTuple):
    """One half of the blocks taken as the report, and the other half's estimate of the same gain."""

    report: Estimate
    other: float

    @property
    def covered(self) -> bool:
        """Whether the report's interval holds the other estimate."""
        return abs(self.other - self.report.gain) <= self.report.half_width()

    @property
    def expected(self) -> float:
        """The chance of `covered` if the noise is as the report says: less than its level, for both estimates vary."""
        return 1 - self.difference._replace(gain=self.report.half_width()).p

    @property
    def repeated(self) -> bool:
        """Whether the two estimates differ by no more than the noise of both allows in 95 of 100 cases."""
        return abs(self.other - self.report.gain) <= self.difference.half_width()

    @property
    def difference(self) -> Estimate:
        """The noise of the difference of both: trainings twice, and no images, which both halves share."""
        return self.report._replace(sd_block=2**0.5 * self.report.sd_block, sd_images=0.0)


def halves(differences: Sequence[float], sd_images: float | None) -> list[Halves]:
    """Return both ways of setting one half of the blocks against the other, every second block being one half.

    An interval needs two blocks at least, and the deviation over images; else there is none.
    """
    parts = differences[::2], differences[1::2]
    if min(map(len, parts)) < 2 or sd_images is None:
        return []
    return [Halves(estimate(part, sd_images), fmean(other)) for part, other in (parts, parts[::-1])]
