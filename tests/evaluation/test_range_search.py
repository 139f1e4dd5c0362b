"""The search climbs to the ranges that a score peaks at, and never below its start."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.range_search import BOUNDS, moved, search_ranges

finite = [bound for bound in BOUNDS if bound is not None]


@given(st.sampled_from(finite[1:5]), st.sampled_from([*finite[6:], None]))
def test_finds_a_peak_that_is_separable(low: float, high: float | None) -> None:
    def score(ranges: tuple) -> float:
        (a, b), (c, d) = ranges
        ends = (a, low), (b or 400.0, high or 400.0), (c, high or finite[-1]), (d or 400.0, 400.0)
        return 1000 - sum(abs(x - y) for x, y in ends)

    found = search_ranges(score, ((0.0, None), (0.0, None)))
    assert found.ranges == ((low, high), (high or finite[-1], None))
    assert found.score == score(found.ranges)


def test_equal_scores_keep_the_start() -> None:
    start = ((7.0, 90.0), (32.0, None))
    found = search_ranges(lambda ranges: 0.5, start)
    assert found.ranges == start
    assert found.tried > 20
    assert search_ranges(lambda ranges: None, start).score == 0.0


def test_ranges_stay_ranges() -> None:
    assert moved(((32.0, 64.0),), 0, 0, None) is None
    assert moved(((32.0, 64.0),), 0, 0, 64.0) is None
    assert moved(((32.0, 64.0),), 0, 1, 16.0) is None
    assert moved(((32.0, 64.0), (0.0, None)), 0, 1, None) == ((32.0, None), (0.0, None))

    def score(ranges: tuple) -> float:
        for low, high in ranges:
            assert low < (math.inf if high is None else high)
        return sum(low for low, _ in ranges)

    assert search_ranges(score, ((0.0, 100.0), (0.0, None))).ranges == ((96.0, 100.0), (280.0, None))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="rising"):
        search_ranges(lambda ranges: 0.0, ((0.0, None),), bounds=(32.0, 16.0))
    with pytest.raises(ValueError, match="start"):
        search_ranges(lambda ranges: 0.0, ())
