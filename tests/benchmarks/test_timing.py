"""The interleaved timer: spreads and ratios by hand, rounds and repeats on a clock that is told what to say."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.benchmarks.timing.rounds import MOST_REPEATS, choose_repeats, interleave, ratios, spread, wall_clock


class FakeClock:
    """Every call is its own number of seconds, times a drift that grows with every sample."""

    def __init__(self, drift: float = 0.0) -> None:
        self.drift, self.samples, self.order = drift, 0, []

    def __call__(self, call, repeats: int) -> float:
        self.samples += 1
        self.order.append((call(), repeats))
        return call() * (1 + self.drift * self.samples)


def test_spread_by_hand():
    assert spread([4.0, 1.0, 3.0, 2.0, 5.0]) == (3.0, 2.0, 4.0)
    assert spread([1.0, 2.0]) == (1.5, 1.25, 1.75)
    assert spread([7.0]) == (7.0, 7.0, 7.0)
    with pytest.raises(ValueError, match="at least one value"):
        spread([])


def test_ratios_are_taken_round_by_round():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])


def test_every_call_gets_one_sample_a_round_in_changing_order():
    clock = FakeClock()
    times = interleave({"a": lambda: 1.0, "b": lambda: 2.0, "c": lambda: 3.0}, 1e9, most=8, clock=clock)
    assert times == {"a": [1.0] * 8, "b": [2.0] * 8, "c": [3.0] * 8}
    values = [value for value, _ in clock.order[-24:]]
    rounds = [tuple(values[i : i + 3]) for i in range(0, 24, 3)]
    assert all(sorted(found) == [1.0, 2.0, 3.0] for found in rounds)
    assert len(set(rounds)) > 2


def test_the_budget_ends_the_rounds_but_not_before_the_least():
    calls = {"a": lambda: 1.0, "b": lambda: 3.0}
    assert len(interleave(calls, 33.0, clock=FakeClock())["a"]) == 8  # 4 s a round: a ninth would end at 36 s
    assert len(interleave(calls, 0.0, clock=FakeClock())["a"]) == 5
    assert len(interleave(calls, 0.0, least=2, clock=FakeClock())["a"]) == 2
    assert len(interleave(calls, 1e9, clock=FakeClock())["a"]) == 50


def test_short_calls_are_repeated_inside_a_sample_and_count_for_the_budget():
    clock = FakeClock()
    times = interleave({"a": lambda: 0.001}, 0.05, clock=clock)
    assert Counter(repeats for _, repeats in clock.order[3:]) == {5: len(times["a"])}  # 5 ms a sample
    assert len(times["a"]) in (9, 10)


def test_repeats_by_hand():
    assert choose_repeats(lambda: 0.0005, FakeClock()) == 10
    assert choose_repeats(lambda: 2.0, FakeClock()) == 1
    assert choose_repeats(lambda: 0.0, FakeClock()) == MOST_REPEATS
    slow = FakeClock()
    choose_repeats(lambda: 2.0, slow)
    assert slow.samples == 1  # one warm-up of two seconds is enough


@given(drift=st.floats(0.0, 0.002), factor=st.floats(0.5, 4.0))
def test_the_ratio_of_rounds_hardly_feels_a_drift_that_moves_the_times(drift, factor):
    times = interleave({"plain": lambda: 1.0, "other": lambda: factor}, 1e9, clock=FakeClock(drift))
    assert spread(ratios(times["other"], times["plain"])).median == pytest.approx(factor, rel=0.003)


def test_the_wall_clock_divides_by_the_repeats(monkeypatch):
    calls = []
    monkeypatch.setattr("time.perf_counter", lambda: 7.0 + 2.0 * len(calls))  # each call takes two seconds
    assert wall_clock(lambda: calls.append(1), 10) == 2.0
    assert len(calls) == 10
