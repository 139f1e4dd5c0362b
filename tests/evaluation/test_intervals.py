"""Intervals of gains: Student's t against printed tables, paired draws, pooled noise, all by hand."""

import math

import numpy as np
import pytest

from pipeline.evaluation.intervals import (
    gain_interval,
    gain_sd,
    paired_interval,
    pooled_run_sd,
    smallest_detectable_gain,
    t_quantile,
)

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


def test_gain_interval_by_hand():
    # sqrt(.003^2 + 2 * .004^2) = sqrt(41e-6); t(.975, 2) = 4.3027
    assert gain_sd(0.003, 0.004) == pytest.approx(math.sqrt(41e-6))
    half = 4.302653 * math.sqrt(41e-6)
    assert gain_interval(0.05, 0.003, 0.004, 2) == pytest.approx((0.05 - half, 0.05 + half), abs=1e-8)
    assert smallest_detectable_gain(0.003, 0.004, 2) == pytest.approx(half, abs=1e-8)
    # three runs each: 2/3 of the run variance
    assert gain_sd(0.003, 0.004, runs=(3, 3)) == pytest.approx(math.sqrt(9e-6 + 16e-6 * 2 / 3))


def test_pooled_run_sd_by_hand():
    # deviations of .01 around .31 twice, and 0, +-.02 around .4: (2e-4 + 8e-4) / 3
    sd, dof = pooled_run_sd([[0.30, 0.32], [0.38, 0.40, 0.42], [0.5], [None, 0.6]])
    assert (sd, dof) == (pytest.approx(math.sqrt(1e-3 / 3)), 3)
    assert pooled_run_sd([[0.3], [0.4]]) == (None, 0)
    assert pooled_run_sd([]) == (None, 0)
