"""Intervals of gains: Student's t against printed tables, paired draws, estimates over blocks."""

import math

import numpy as np
import pytest

from pipeline.evaluation.intervals import estimate, paired_interval, t_quantile

# Two-sided, 5 %.
PRINTED = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 10: 2.228, 30: 2.042, 120: 1.980, 10**6: 1.960}


def test_t_quantiles_of_printed_tables():
    assert [t_quantile(0.975, dof) for dof in PRINTED] == pytest.approx(list(PRINTED.values()), abs=5.1e-4)


def test_t_quantile_elsewhere():
    assert t_quantile(0.995, 4) == pytest.approx(4.604, abs=5e-4)
    assert t_quantile(0.95, 2) == pytest.approx(2.920, abs=5e-4)
    assert t_quantile(0.5, 3) == pytest.approx(0.0, abs=1e-12)
    assert t_quantile(0.975, 1) == pytest.approx(math.tan(math.pi * 0.475))
    for probability, dof in ((1.0, 3), (0.3, 3), (0.9, 0), (0.9, 2.5)):
        with pytest.raises(ValueError, match="t_quantile needs"):
            t_quantile(probability, dof)


def test_paired_interval_cancels_what_is_common():
    base = np.random.default_rng(0).normal(0.4, 0.1, 500)
    low, high, sd = paired_interval(base.tolist(), (base + 0.02).tolist())
    assert (low, high, sd) == pytest.approx((0.02, 0.02, 0.0))


def test_paired_interval_by_hand():
    # differences 0 to 40 in steps of 1: 2.5 % at 1, 97.5 % at 39; variance of 41 whole numbers (41^2 - 1)/12 * 41/40
    low, high, sd = paired_interval([0.0] * 41, list(range(40, -1, -1)))
    assert (low, high) == pytest.approx((1, 39))
    assert sd == pytest.approx(math.sqrt(1680 / 12 * 41 / 40))
    assert paired_interval([0.0] * 41, list(range(41)), level=0.5)[:2] == pytest.approx((10, 30))


def test_paired_interval_leaves_out_missing_draws():
    assert paired_interval([None, 0.1, 0.2, None], [0.5, 0.2, 0.4, None])[2] == pytest.approx(math.sqrt(0.005))
    assert paired_interval([None, 0.1], [0.5, 0.2]) == (None, None, None)
    assert paired_interval([], []) == (None, None, None)
    with pytest.raises(ValueError, match="got 1 and 2"):
        paired_interval([0.1], [0.1, 0.2])


def test_an_estimate_by_hand():
    # differences .01, .03 and .02: mean .02, deviation .01 with 2 degrees of freedom; of the mean .01^2 / 3 = 33.3e-6;
    # images .003^2 = 9e-6; together 42.3e-6: 2 * (42.3 / 33.3)^2 = 3.23, so t of 3 degrees of freedom
    found = estimate([0.01, 0.03, 0.02], 0.003)
    assert found[:3] == (pytest.approx(0.02), 3, pytest.approx(0.01))
    assert (found.dof, found.sd_images) == (2, 0.003)
    half = 3.182446 * math.sqrt(1e-4 / 3 + 9e-6)
    assert found.interval() == pytest.approx((0.02 - half, 0.02 + half), abs=1e-7)
    # four times the images: 2.25e-6, 2 * (35.58 / 33.3)^2 = 2.28
    assert found.half_width(images=4) == pytest.approx(4.302653 * math.sqrt(1e-4 / 3 + 2.25e-6), abs=1e-7)
    # twelve blocks of this deviation: 8.3e-6, 11 * (17.33 / 8.33)^2 = 47.6
    assert found.half_width(blocks=12) == pytest.approx(2.011741 * math.sqrt(1e-4 / 12 + 9e-6), abs=1e-7)


def test_few_blocks_take_the_deviation_of_others_too():
    # squares of deviations 2 * .01^2 / 2 and 2 * .02^2 over 1 + 2 degrees of freedom
    found = estimate([0.01, 0.02], 0.0, [[0.0, 0.02, 0.04], [0.5]])
    assert (found.gain, found.dof) == (pytest.approx(0.015), 3)
    assert found.sd_block == pytest.approx(math.sqrt((0.5e-4 + 8e-4) / 3))


def test_one_block_has_noise_of_images_alone_where_the_weights_are_the_same():
    assert estimate([0.02], 0.003).interval() == (None, None)
    assert estimate([0.02], 0.003, [[0.0, 0.1]]).interval() == (None, None)  # a single one is shown without a verdict
    low, high = estimate([0.02], 0.003, fixed=True).interval()
    assert (low, high) == pytest.approx((0.02 - 1.959964 * 0.003, 0.02 + 1.959964 * 0.003), abs=1e-7)
    assert estimate([0.02, 0.02], None).interval() == (None, None)


def test_intervals_of_invented_gains_cover_the_truth():
    """Blocks and images are drawn with known deviations; 95 % of 2,000 intervals must hold the true gain."""
    random = np.random.default_rng(5)
    for blocks in (3, 8):
        covered = 0
        for truth in (0.0, 0.01, 0.02) * 667:
            shared = random.normal(0, 0.004)  # the same test images for every block
            found = estimate((truth + shared + random.normal(0, 0.008, blocks)).tolist(), 0.004)
            low, high = found.interval()
            covered += low <= truth <= high
        assert 0.93 <= covered / 2001 <= 0.97
