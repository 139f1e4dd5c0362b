"""Gains of another machine beside a report's: by hand and by simulation."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluation.intervals import Estimate, estimate
from pipeline.verdicts.elsewhere import PLACE, load, twice

HEAD = "preset,paper,experiment,test,block,ap,ap_small,ar1,precision,processor\n"


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    PLACE.parent.mkdir()
    return PLACE


def test_a_gain_is_of_blocks_that_both_have_on_one_machine(place):
    rows = [
        "mini,dst,plain,single,1,0.20,0.05,0.1,fp32,A",
        "mini,dst,plain,single,2,0.22,,0.1,fp32,A",
        "mini,dst,dst,single,2,0.25,0.09,0.1,fp32,A",
        "mini,dst,dst,single,1,0.21,0.06,0.1,fp32,A",
        "mini,dst,dst,pyramid,3,0.29,0.06,0.1,fp32,A",
        "mini,dst,dst,single,3,0.29,0.06,0.1,bf16,A",
        "tour,dst,dst,single,1,0.99,0.99,0.1,fp32,A",
    ]
    place.write_text(HEAD + "\n".join(rows) + "\n")
    bf16, fp32 = load("mini")
    assert (bf16.machine, fp32.machine) == ("A, bf16", "A, fp32")
    assert fp32.gains("dst", "plain", "ap") == pytest.approx([0.01, 0.03])
    assert fp32.gains("dst", "plain", "ap_small") == pytest.approx([0.01])
    assert fp32.gains("dst__pyramid", "plain", "ap") == bf16.gains("dst", "plain", "ap") == []
    assert load("full") == []


def test_without_the_file_there_is_nothing_and_a_broken_one_is_named(place):
    assert load("mini") == []
    place.write_text(HEAD + "mini,dst,plain,single,one,0.20,0.05,0.1,fp32,A\n")
    with pytest.raises(InputError, match=PLACE.name):
        load("mini")


def test_the_noise_of_both_by_hand():
    # four blocks deviate by .01: .005 of ours, .01 of a single one there, together .01118; t(3) = 3.1824
    report = Estimate(0.02, 4, 0.01, 3, 0.004)
    one = twice(report, [0.05])
    assert one.half_width == pytest.approx(3.18245 * 0.0111803, rel=1e-4)
    assert (one.repeated, twice(report, [0.056]).repeated, twice(report, [-0.015, -0.017]).repeated) == (
        True,
        False,
        False,
    )
    assert twice(report, []) is None
    assert twice(Estimate(0.02, 1, None, 0, None), [0.02]) is None
    assert twice(Estimate(0.02, 4, 0.0, 3, 0.004), [0.02]).repeated


def test_ninety_five_of_a_hundred_repeat_where_both_machines_measure_one_truth():
    random, found = np.random.default_rng(5), []
    for _ in range(2000):
        shared = random.normal(0, 0.004)  # of the test images
        ours, theirs = ((0.01 + shared + random.normal(0, 0.01, n)).tolist() for n in (8, 3))
        found.append(twice(estimate(ours, 0.004), theirs).repeated)
    assert np.mean(found) == pytest.approx(0.95, abs=0.015)
