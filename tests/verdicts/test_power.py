"""Blocks that a gain needs, and halves against each other: by hand and by simulation."""

import numpy as np
import pytest

from pipeline.evaluation.intervals import Estimate, estimate
from pipeline.verdicts.power import MOST, Halves, blocks_needed, halves, power


def test_power_by_hand():
    # one block deviates by .01, images by nothing: of 4 blocks .005, t(3) = 3.182; gain .02 is 4 deviations
    noise = Estimate(0.0, 4, 0.01, 3, 0.0)
    assert power(0.02, noise, 4) == pytest.approx(0.7933, abs=1e-3)  # Phi(4 - 3.182)
    assert power(-0.02, noise, 4) == power(0.02, noise, 4)
    assert power(0.0, noise, 4) < 0.025
    assert blocks_needed(0.02, noise) == 5
    assert blocks_needed(0.0001, noise) is None
    assert blocks_needed(0.02, Estimate(0.0, 4, 0.0, 3, 0.02)) is None  # images alone hide it, whatever the blocks
    assert blocks_needed(0.02, Estimate(0.0, 4, 0.0, 3, 0.02), images=8) == 2
    assert MOST == 64


def test_power_is_the_share_of_decided_intervals():
    random, truth, blocks = np.random.default_rng(1), 0.012, 8
    decided = []
    for _ in range(2000):
        shared = random.normal(0, 0.003)
        low, _ = estimate((truth + shared + random.normal(0, 0.01, blocks)).tolist(), 0.003).interval()
        decided.append(low > 0)
    assert np.mean(decided) == pytest.approx(power(truth, Estimate(0.0, blocks, 0.01, 7, 0.003), blocks), abs=0.04)


def test_halves_by_hand():
    one, other = halves([0.01, 0.02, 0.03, 0.02], 0.0)  # .01 and .03 against .02 twice
    assert other == Halves(0.02, 0.02, pytest.approx(0.02))
    assert (one.other, one.covered) == (pytest.approx(0.02), True)
    assert one.high - one.low == pytest.approx(2 * 12.7062 * 0.01, rel=1e-4)  # t(1) * .01414 / sqrt(2)
    assert halves([0.01, 0.02, 0.03], 0.0) == []
    assert halves([0.01] * 8, None) == []


def test_most_halves_of_invented_gains_are_covered():
    random, found = np.random.default_rng(2), []
    for _ in range(500):
        shared = random.normal(0, 0.006)
        found += halves((0.01 + shared + random.normal(0, 0.01, 8)).tolist(), 0.006)
    assert np.mean([one.covered for one in found]) >= 0.9
