"""Blocks that a gain needs, and halves against each other: by hand and by simulation."""

import numpy as np
import pytest

from pipeline.evaluation.intervals import Estimate, estimate
from pipeline.verdicts.power import MOST, blocks_needed, halves, power


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
    assert (other.report.interval(), other.other) == ((0.02, 0.02), pytest.approx(0.02))
    assert (one.other, one.covered, one.repeated) == (pytest.approx(0.02), True, True)
    assert one.report.half_width() == pytest.approx(12.7062 * 0.01, rel=1e-4)  # t(1) * .01414 / sqrt(2)
    assert one.difference.half_width() == pytest.approx(12.7062 * 0.0141421, rel=1e-4)
    assert one.expected == pytest.approx(1 - 2 / np.pi * np.arctan(2**0.5 / 12.7062), rel=1e-4)  # P(|t(1)| < 8.98)
    assert halves([0.01, 0.02, 0.03], 0.0) == []
    assert halves([0.01] * 8, None) == []


def test_halves_of_invented_gains_are_covered_as_often_as_expected():
    random, found = np.random.default_rng(2), []
    for _ in range(2000):
        shared = random.normal(0, 0.003)
        found += halves((0.01 + shared + random.normal(0, 0.01, 8)).tolist(), 0.003)
    assert np.mean([one.covered for one in found]) == pytest.approx(np.mean([one.expected for one in found]), abs=0.015)
    assert np.mean([one.expected for one in found]) == pytest.approx(0.90, abs=0.02)
    assert np.mean([one.repeated for one in found]) == pytest.approx(0.95, abs=0.01)
