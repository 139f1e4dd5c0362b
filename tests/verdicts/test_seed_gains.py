"""Gains between means of several trainings, by hand, on the page of seeds and under the method's table."""

import pytest

from pipeline import paths
from pipeline.benchmarks.pages.seeds import page
from pipeline.benchmarks.seed_groups import METRICS
from pipeline.benchmarks.seeds import spread
from pipeline.files import read_json, write_json
from pipeline.reporting.context import spread_cell
from pipeline.reporting.index_page import answer
from pipeline.reporting.methods_page import gains_table
from pipeline.reporting.tables import write_table
from pipeline.verdicts.comparison import judge_gain
from pipeline.verdicts.methods import METHODS, compare_pair
from pipeline.verdicts.results import PRETRAINING, Results
from pipeline.verdicts.table_lines import methods_of
from pipeline.verdicts.trainings import seed_gain
from pipeline.verdicts.trainings import spread as seed_spread

PLAIN, PS = "psconv_frcnn_r50_fpn_1x", "psconv_frcnn_r50_fpn_1x_psconv"


def measured(name: str, *values: float) -> dict:
    runs = [dict.fromkeys(METRICS[PRETRAINING], value) | {"ap50": value + 0.3} for value in values]
    return spread(name, METRICS[PRETRAINING], runs)


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
    found = seed_gain(Results("mini"), PS, "ap", published_gain=2.0)
    assert (found.baseline, found.runs, found.pretrained) == (PLAIN, (3, 3), True)
    assert (found.base, found.ours) == (pytest.approx(0.20), pytest.approx(0.24))
    half = 2.776445 * 0.01 * (1 / 3 + 1 / 3) ** 0.5  # Student's t of 4 degrees of freedom
    assert (found.verdict.low, found.verdict.high) == (pytest.approx(0.04 - half), pytest.approx(0.04 + half))
    assert found.verdict.word == "agrees"
    assert seed_gain(Results("mini"), PS, "ap", published_gain=-2.0).verdict.word == "contradicts"
    assert seed_gain(Results("mini"), PS, "ap").verdict.word == "decided up"
    # nobody ran it, or under other options
    assert seed_gain(Results("mini"), "dst_frcnn_r50_fpn_1x_dst", "ap") is None
    assert seed_gain(Results("mini"), PS, "recall50_0_25") is None
    ran["mini"]["preset_digest"] = "other"
    write_json(paths.NOISE, ran)
    assert seed_gain(Results("mini"), PS, "ap") is None


def test_the_table_says_it(ran):
    write_table("psconv_t8", "mini")
    text = paths.table("mini", "psconv_t8").read_text()
    sentence = "- R50 PSConv (Faster R-CNN): the gain is between the means of 3 trainings of it (AP 24.0) and 3 of its "
    sentence += "baseline (20.0), each from a pre-training of its own (`seeds.md`); the cells show one training of each"
    assert f"{sentence}, -5.0 apart." in text
    assert "| +4.0 [+1.7, +6.3], means of 3 | 1, ± 0.5 | agrees |" in text
    assert "gain, interval and verdict are those of the means." in text  # the rule stands beside the verdicts


def test_trainings_from_one_backbone_stand_in_the_column_of_seeds_but_judge_no_other_backbone(ran):
    ran["mini"]["groups"]["fpn"] = measured(PLAIN, 0.19, 0.20, 0.21)
    ran["mini"]["methods"][PS] = {"group": "fpn", **measured(PS, 0.22, 0.24, 0.26)}
    write_json(paths.NOISE, ran)
    found = seed_spread(Results("mini"), PS, "ap")
    assert (found.count, found.mean, found.sd) == (3, pytest.approx(0.24), pytest.approx(0.02))
    assert spread_cell(found) == "3: 24.0 ± 2.0"
    # PSConv's backbone and the plain one differ in their pre-training too, of which seeds of the detector tell nothing
    assert seed_gain(Results("mini"), PS, "ap").gain == pytest.approx(0.04)
    assert judge_gain(Results("mini"), PS, PLAIN, "ap", 2.0).ours == pytest.approx(-0.05)


def test_the_page_of_seeds_shows_both_and_the_gain(ran):
    del ran["mini"]["groups"]["fpn"], ran["mini"]["groups"]["none"]
    write_json(paths.NOISE, ran)
    text = page(Results("mini"))
    assert f"## {PRETRAINING}: `{PLAIN}`" in text
    assert f"## {PRETRAINING}: `{PS}`" in text
    assert "| seed 2 | 24.0 | 54.0 |" in text
    assert "| ap | 20.0 | 24.0 | +4.0 [+1.7, +6.3] | decided up |" in text


def test_the_first_page_and_the_page_of_methods_take_the_means(ran):
    write_table("psconv_t8", "mini", headline=True)
    (method,) = methods_of("mini", ["psconv_t8"], headline=True)
    assert (method.name, method.ap, method.trainings) == ("PSConv (means of 3 trainings)", 24.0, 3)
    assert method.gains["ap_small"] == (4.0, 1.7, 6.3, "agrees")
    assert answer(Results("mini"), [method])[0] == (
        "**Helps:** PSConv (means of 3 trainings) +4.0 [+1.7, +6.3] points of AP small."
    )
    pair = compare_pair(Results("mini"), METHODS[-1])
    assert (pair.ap, pair.gains["ap"].ours, pair.trainings) == (pytest.approx(0.24), pytest.approx(0.04), 3)
    assert "), means of 3 trainings | 24.0 | **+4.0 [+1.7, +6.3]** |" in gains_table([pair])
    # a row over another baseline takes nothing of it
    ran["mini"]["groups"][PRETRAINING]["experiment"] = "msfm_frcnn_r50_fpn_1x"
    write_json(paths.NOISE, ran)
    write_table("psconv_t8", "mini")
    assert "means of 3" not in paths.table("mini", "psconv_t8").read_text()
    (method,) = (m for m in methods_of("mini", ["psconv_t8"]) if m.evaluation == PS)
    assert (method.trainings, method.gains["ap"][0]) == (1, -5.0)


def test_several_trainings_overrule_a_single_one_both_ways(ran):
    """One training of each gives -5 points and would be decided; three trainings of each give +4."""
    gain = judge_gain(Results("mini"), PS, PLAIN, "ap", 2.0)
    assert (gain.ours, gain.verdict.word, gain.trainings) == (pytest.approx(0.04), "agrees", 3)
    assert gain.verdict.sentence.startswith("Means of 3 trainings and of 3 of the baseline: gain +4.0 points, 95 %")
    other = judge_gain(Results("mini"), PS, PLAIN, "ap", 2.0, stand_in=True).verdict
    assert (other.word, "another baseline" in other.sentence) == ("decided up", True)
    ran["mini"]["methods"][PS] |= measured(PS, 0.19, 0.20, 0.22)
    write_json(paths.NOISE, ran)
    assert judge_gain(Results("mini"), PS, PLAIN, "ap", 2.0).verdict.word == "undecided"
    ran["mini"].pop("methods")
    ran["mini"]["groups"][PRETRAINING]["sd"] = dict.fromkeys(METRICS[PRETRAINING], 0.001)
    write_json(paths.NOISE, ran)
    single = judge_gain(Results("mini"), PS, PLAIN, "ap", 2.0)
    assert (single.ours, single.verdict.word, single.trainings) == (pytest.approx(-0.05), "contradicts", 1)


def test_means_of_baselines_that_learnt_too_little_decide_nothing(ran):
    low = dict.fromkeys(METRICS[PRETRAINING], 0.2) | {"ap50": 0.1}
    runs = [low | {"ap": ap} for ap in (0.19, 0.20, 0.21)]
    ran["mini"]["groups"][PRETRAINING] = spread(PLAIN, METRICS[PRETRAINING], runs)
    write_json(paths.NOISE, ran)
    assert seed_gain(Results("mini"), PS, "ap", published_gain=2.0).verdict.word == "undertrained"


def test_means_of_a_method_of_which_nobody_knows_whether_it_did_anything_decide_nothing(ran, fake):
    fake.dst(gain=0.03)
    plain, dst = "dst_frcnn_r50_fpn_1x", "dst_frcnn_r50_fpn_1x_dst"
    ran["mini"]["groups"]["fpn"] = measured(plain, 0.19, 0.20, 0.21)
    ran["mini"]["methods"][dst] = {"group": "fpn", **measured(dst, 0.23, 0.24, 0.25)}
    write_json(paths.NOISE, ran)
    assert judge_gain(Results("mini"), dst, plain, "ap", 1.9).verdict.word == "agrees"
    paths.training_summary("mini", dst).unlink()
    verdict = judge_gain(Results("mini"), dst, plain, "ap", 1.9).verdict
    assert verdict.word == "undecided"
    assert verdict.sentence.endswith(f"{dst}_training.json is missing.")
