"""Gains between means of several trainings, by hand, on the page of seeds and under the method's table."""

from __future__ import annotations

import pytest

from pipeline import paths
from pipeline.benchmarks.seed_groups import METRICS
from pipeline.benchmarks.seeds import spread
from pipeline.benchmarks.seeds_page import page
from pipeline.files import read_json, write_json
from pipeline.reporting.comparison import judge_gain
from pipeline.reporting.index_page import answer, further_trainings
from pipeline.reporting.results import PRETRAINING, Results
from pipeline.reporting.seed_gains import seed_gain
from pipeline.reporting.summary import methods_of
from pipeline.reporting.tables import write_table

PLAIN, PS = "psconv_frcnn_r50_fpn_1x", "psconv_frcnn_r50_fpn_1x_psconv"


def measured(name: str, *values: float) -> dict:
    return spread(name, METRICS[PRETRAINING], [dict.fromkeys(METRICS[PRETRAINING], value) for value in values])


@pytest.fixture
def ran(fake):
    """Three trainings each, of means 20 and 24 and deviations of 1 point; images add none."""
    fake.evaluation(PLAIN, 0.20)
    fake.evaluation(PS, 0.15)
    fake.training(PS)
    fake.noise(sd=0.005, dof=4)
    noise = read_json(paths.NOISE)
    noise["mini"]["groups"][PRETRAINING] = measured(PLAIN, 0.19, 0.20, 0.21)
    noise["mini"]["methods"] = {PS: {"group": PRETRAINING, **measured(PS, 0.23, 0.24, 0.25)}}
    write_json(paths.NOISE, noise)
    return noise


def test_means_of_several_trainings_and_their_interval(ran):
    found = seed_gain(Results("mini"), PS, "ap", 2.0)
    assert (found.baseline, found.runs, found.pretrained) == (PLAIN, (3, 3), True)
    assert (found.base, found.ours) == (pytest.approx(0.20), pytest.approx(0.24))
    half = 2.776445 * 0.01 * (1 / 3 + 1 / 3) ** 0.5  # Student's t of 4 degrees of freedom
    assert (found.verdict.low, found.verdict.high) == (pytest.approx(0.04 - half), pytest.approx(0.04 + half))
    assert found.verdict.word == "agrees"
    assert seed_gain(Results("mini"), PS, "ap", -2.0).verdict.word == "contradicts"
    assert seed_gain(Results("mini"), PS, "ap").verdict.word == "decided up"


def test_nobody_ran_it_or_under_other_options(ran):
    assert seed_gain(Results("mini"), "dst_frcnn_r50_fpn_1x_dst", "ap") is None
    assert seed_gain(Results("mini"), PS, "recall50_0_25") is None
    ran["mini"]["preset_digest"] = "other"
    write_json(paths.NOISE, ran)
    assert seed_gain(Results("mini"), PS, "ap") is None


def test_the_table_says_it(ran):
    write_table("psconv_t8", "mini")
    text = paths.table("mini", "psconv_t8").read_text()
    sentence = (
        "- R50 PSConv (Faster R-CNN): over 3 further trainings of it and 3 of its baseline, each from a pre-training "
        "of its own, the gain in AP is +4.0 [+1.7, +6.3]: agrees (`seeds.md`)."
    )
    assert sentence in text
    assert "do not decide the same way is `undecided`" in text  # the rule stands beside the verdicts


def test_the_page_of_seeds_shows_both_and_the_gain(ran):
    del ran["mini"]["groups"]["fpn"], ran["mini"]["groups"]["none"]
    write_json(paths.NOISE, ran)
    text = page(Results("mini"))
    assert f"## {PRETRAINING}: `{PLAIN}`" in text
    assert f"## {PRETRAINING}: `{PS}`" in text
    assert "| seed 2 | 24.0 | 24.0 |" in text
    assert "| ap | 20.0 | 24.0 | +4.0 [+1.7, +6.3] | decided up |" in text


def test_the_first_page_says_it(ran):
    write_table("psconv_t8", "mini", headline=True)
    (method,) = methods_of("mini", ["psconv_t8"], headline=True)
    assert method.further["ap_small"] == (4.0, 1.7, 6.3, "agrees", 3)
    (line,) = further_trainings([method])
    assert line == (
        "**Trained several times, as its baseline was** ([runs](seeds.md)): PSConv +4.0 [+1.7, +6.3] AP small (agrees) "
        "and +4.0 [+1.7, +6.3] AP (agrees), 3 trainings."
    )
    assert line in answer(Results("mini"), [method])


def test_a_row_over_another_baseline_takes_nothing_of_it(ran):
    ran["mini"]["groups"][PRETRAINING]["experiment"] = "msfm_frcnn_r50_fpn_1x"
    write_json(paths.NOISE, ran)
    write_table("psconv_t8", "mini")
    assert "further trainings of it" not in paths.table("mini", "psconv_t8").read_text()
    (method,) = (m for m in methods_of("mini", ["psconv_t8"]) if m.evaluation == PS)
    assert method.further == {}
    assert further_trainings([method]) == []


def test_a_single_training_that_others_do_not_repeat_decides_nothing(ran):
    """One training of each gives -5 points and would be decided; three trainings of each give +4."""
    ran["mini"]["groups"][PRETRAINING]["sd"] = dict.fromkeys(METRICS[PRETRAINING], 0.001)
    write_json(paths.NOISE, ran)
    gain = judge_gain(Results("mini"), PS, PLAIN, "ap", 2.0)
    assert gain.ours == pytest.approx(-0.05)
    assert gain.verdict.high < 0
    assert gain.verdict.word == "undecided"
    assert "Further trainings of both do not show it" in gain.verdict.sentence
    write_json(paths.metrics("mini", PS), dict.fromkeys(METRICS[PRETRAINING], 0.26) | {"images": 300})
    assert judge_gain(Results("mini"), PS, PLAIN, "ap", 2.0).verdict.word == "agrees"
    ran["mini"].pop("methods")
    write_json(paths.NOISE, ran)
    write_json(paths.metrics("mini", PS), dict.fromkeys(METRICS[PRETRAINING], 0.15) | {"images": 300})
    assert judge_gain(Results("mini"), PS, PLAIN, "ap", 2.0).verdict.word == "contradicts"
