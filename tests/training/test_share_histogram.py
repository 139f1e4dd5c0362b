"""How many steps had which share of the loss: the histogram that a training's summary keeps."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.history import SHARE_BINS, History


def counted(shares: list[float | None]) -> History:
    history = History(len(shares) or 1, 3)
    for step, share in enumerate(shares):
        history.add({"step": step + 1, "small_share": share, "large_share": share})
    return history


def test_by_hand():
    history = counted([0.0, 0.005, 0.01, 0.29, 0.29, 0.0999999999999, 0.05, None, float("nan")])
    histogram = history.histogram("small_share")
    assert len(histogram) == 30  # the empty ones at the end are left out
    assert {place: count for place, count in enumerate(histogram) if count} == {0: 2, 1: 1, 5: 1, 10: 1, 29: 2}


def test_the_last_hundredth_holds_one():
    assert counted([1.0, 0.995]).histogram("small_share") == [0] * 99 + [2]


def test_absent_shares():
    assert counted([None, float("nan")]).histogram("small_share") is None
    assert counted([]).histogram("small_share") is None
    assert counted([0.5]).histogram("large_share") is None  # of small objects alone


@given(st.lists(st.floats(0, 1) | st.none(), max_size=60), st.integers(0, 60))
def test_every_step_counts_once_and_a_restored_history_goes_on(shares, cut):
    whole = counted(shares)
    first, second = counted(shares[:cut]), History(len(shares) or 1, 3)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for step, share in enumerate(shares[cut:], start=cut):
        second.add({"step": step + 1, "small_share": share, "large_share": share})
    assert second.histogram("small_share") == whole.histogram("small_share")
    present = [share for share in shares if share is not None]
    assert sum(whole.histogram("small_share") or ()) == len(present)


def test_every_hundredth_falls_into_the_bin_that_it_starts():
    for place in range(SHARE_BINS):
        assert counted([place / SHARE_BINS]).histogram("small_share") == [0] * place + [1]
