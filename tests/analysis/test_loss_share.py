"""The heuristic of DST's section 4.3: shares counted by hand, quantiles, and what is said where they are missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import paths
from pipeline.analysis.loss_share import (
    describe_shares,
    histogram_of,
    part_below,
    quantile,
    rounded_threshold,
    write_shares,
)
from pipeline.errors import InputError
from pipeline.files import read_json, write_json, write_text
from pipeline.verdicts.results import Results

BASE = "dst_frcnn_r50_fpn_1x"


def written(lines: list[str], histogram: list[int] | None) -> Results:
    header = "step,loss,small_share,medium_share,large_share"
    write_text(paths.history("mini", BASE), "\n".join([header, *lines]) + "\n")
    write_json(paths.training_summary("mini", BASE), {"experiment": BASE, "small_share_histogram": histogram})
    return Results("mini")


def test_quantiles_by_hand():
    counts = [4, 0, 4, 2]  # 4 steps in [0, 0.01), 4 in [0.02, 0.03), 2 in [0.03, 0.04)
    assert quantile(counts, 0.2) == pytest.approx(0.005)
    assert quantile(counts, 0.4) == pytest.approx(0.01)
    assert quantile(counts, 0.5) == pytest.approx(0.0225)
    assert quantile(counts, 1) == pytest.approx(0.04)
    assert quantile([0, 0, 3], 0) == pytest.approx(0.02)  # the least share that there is
    with pytest.raises(ValueError, match="found 0 steps"):
        quantile([], 0.5)
    with pytest.raises(ValueError, match="level 2"):
        quantile([1], 2)


def test_part_below_by_hand():
    counts = [4, 0, 4, 2]
    assert part_below(counts, 0.01) == 0.4
    assert part_below(counts, 0.025) == pytest.approx(0.6)
    assert part_below(counts, 0.1) == 1.0
    assert part_below(counts, 0.0) == 0.0
    with pytest.raises(ValueError, match="found none"):
        part_below([0], 0.1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.floats(0, 1))
def test_quantiles_are_within_a_hundredth_of_the_exact_ones(shares, level):
    found = quantile(histogram_of(shares), level)
    exact = np.quantile(shares, level, method="inverted_cdf")
    assert abs(found - exact) <= 0.01 + 1e-9


@given(st.lists(st.integers(0, 50), min_size=1, max_size=100).filter(any), st.floats(0.01, 0.99))
def test_part_below_inverts_the_quantile(counts, level):
    assert part_below(counts, quantile(counts, level)) == pytest.approx(level, abs=1e-6)


def test_thresholds_have_two_digits_and_are_never_zero():
    found = [rounded_threshold(value) for value in (0.0954, 0.1249, 0.5, 0.0312, 0.00996, 0.0, 0.0002)]
    assert found == [0.095, 0.12, 0.5, 0.031, 0.01, 0.001, 0.001]


def test_the_papers_own_case(fake):
    # "more than half of the training iterations undergo an extremely low loss proportion", under 0.1
    results = written(["5,1,0.05,0.25,0.7", "10,1,0.25,0.25,0.5"], [0] * 9 + [50] + [25, 25])
    found = describe_shares(results, BASE)
    assert found["source"] == "steps"
    assert found["counted"] == 100
    assert found["below_paper_threshold"] == 0.5
    assert found["proposed_threshold"] == 0.1
    assert found["quantiles"] == {"0.1": 0.092, "0.25": 0.095, "0.5": 0.1, "0.75": 0.11, "0.9": 0.116}
    assert found["means"] == {"small": 0.15, "medium": 0.25, "large": 0.6}


def test_windows_stand_in_where_steps_were_not_counted(fake):
    results = written(["5,1,0.02,,", "10,1,,,", "15,1,0.04,,"], None)
    found = describe_shares(results, BASE)
    assert (found["source"], found["counted"], found["window_steps"]) == ("windows", 2, 5)
    assert found["proposed_threshold"] == 0.03
    assert found["means"]["large"] is None


def test_what_is_missing_is_said(fake):
    with pytest.raises(InputError, match=r"dst_frcnn_r50_fpn_1x\.csv does not exist or is empty; train"):
        describe_shares(Results("mini"), BASE)
    with pytest.raises(InputError, match="holds no small_share"):
        describe_shares(written(["5,1,,,"], None), BASE)


def test_the_file_of_a_stage(fake):
    written(["5,1,0.05,0.25,0.7"], [1, 1])
    write_shares("mini", BASE)
    assert read_json(paths.loss_share("mini", BASE))["proposed_threshold"] == 0.01
