"""Windows of the history, by hand."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.history import COLUMNS, SHARE_BINS, History


def fill(history: History, steps: int, start: int = 0) -> History:
    for step in range(start, steps):
        history.add({"step": step + 1, "lr": 0.1 * (step + 1), "loss": float(step), "collage": step % 2, "images": 2})
    return history


def test_rows_are_means_of_windows_and_the_last_step():
    history = fill(History(6, 3), 6)
    assert [row["step"] for row in history.rows] == [2, 4, 6]
    assert [row["loss"] for row in history.rows] == [0.5, 2.5, 4.5]
    assert [row["lr"] for row in history.rows] == pytest.approx([0.2, 0.4, 0.6])  # of the last step, no mean
    assert [row["collage"] for row in history.rows] == [0.5, 0.5, 0.5]
    assert "images" not in history.rows[0]  # summed, not logged
    assert history.sums["images"] == 12


def test_window_rounds_up_and_the_rest_is_flushed():
    history = fill(History(7, 3), 7)
    assert history.window == 3
    assert [row["step"] for row in history.rows] == [3, 6]
    history.flush()
    history.flush()
    assert [row["step"] for row in history.rows] == [3, 6, 7]
    assert history.rows[-1]["loss"] == 6.0
    assert [row["step"] for row in fill(History(2, 60), 2).rows] == [1, 2]


def test_quantities_that_do_not_exist_are_left_out_of_means():
    history = History(4, 1)
    for share in (0.25, None, math.nan, 0.75):
        history.add({"step": 1, "loss": 1.0, "small_share": share, "valid_800": None})
    assert history.rows[0]["small_share"] == 0.5
    assert "valid_800" not in history.rows[0]
    assert history.mean("small_share") == 0.5
    assert history.mean("valid_800") is None
    assert history.mean("nothing") is None
    history = History(2, 1)
    for share in (0.0, None):
        history.add({"small_share": share})
    assert history.mean("small_share") == 0.0


def test_csv_has_empty_cells_and_six_digits():
    history = History(2, 2, ("step", "loss", "top1"))
    history.add({"step": 1, "loss": 1 / 3, "top1": None})
    history.add({"step": 1234567, "loss": 1e-9, "top1": 1.0})
    assert history.csv() == "step,loss,top1\n1,0.333333,\n1234567,1e-09,1\n"
    assert History(2, 2).csv() == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize("cut", range(8))
def test_restored_in_the_middle_of_a_window(cut):
    whole = fill(History(7, 3), 7)
    first = fill(History(7, 3), cut)
    second = History(7, 3)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    fill(second, 7, start=cut)
    whole.flush()
    second.flush()
    assert second.csv() == whole.csv()
    assert (second.sums, second.counts) == (whole.sums, whole.counts)


# How many steps had which share of the loss


def counted(shares: list[float | None]) -> History:
    history = History(len(shares) or 1, 3)
    for step, share in enumerate(shares):
        history.add({"step": step + 1, "small_share": share, "large_share": share})
    return history


def test_histogram_by_hand():
    history = counted([0.0, 0.005, 0.01, 0.29, 0.29, 0.0999999999999, 0.05, None, float("nan")])
    histogram = history.histogram("small_share")
    assert len(histogram) == 30  # the empty ones at the end are left out
    assert {place: count for place, count in enumerate(histogram) if count} == {0: 2, 1: 1, 5: 1, 10: 1, 29: 2}
    assert counted([1.0, 0.995]).histogram("small_share") == [0] * 99 + [2]  # the last hundredth holds one
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
