"""The run-to-run benchmark: spreads by hand, its page, and its complaints."""

from __future__ import annotations

import pytest

from pipeline import config
from pipeline.benchmarks import seeds


def runs(*ap50: float) -> list[dict]:
    return [{"ap": v / 2, "ap50": v, "ap75": None, "ap_small": 0.1, "ap_medium": 0.2, "ap_large": 0.3} for v in ap50]


def test_spread_is_the_sample_standard_deviation():
    found = seeds.spread("msfm_frcnn_r50_fpn_1x", runs(0.40, 0.50, 0.60))
    assert found["dof"] == 2
    assert found["sd"]["ap50"] == pytest.approx(0.1)
    assert found["sd"]["ap"] == pytest.approx(0.05)
    assert found["sd"]["ap_small"] == 0
    assert found["values"]["ap50"] == [0.40, 0.50, 0.60]


def test_a_metric_that_never_existed_has_no_spread():
    assert seeds.spread("x", runs(0.4, 0.5))["sd"]["ap75"] is None


def test_page_shows_median_runs_and_spread():
    groups = {"fpn": seeds.spread("msfm_frcnn_r50_fpn_1x", runs(0.40, 0.47, 0.60))}
    text = seeds.page(config.load_preset("mini"), groups)
    assert "Median AP50 of 3 seeds: **47.0** %." in text
    assert "| seed 2 | 23.5 | 47.0 | n/a | 10.0 | 20.0 | 30.0 |" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["--seeds", "1"], "needs at least 2 runs"), (["--groups", "fnp"], "--groups names 'fnp'")],
)
def test_complaints_are_one_sentence_and_exit_code_2(words, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        seeds.run(seeds.main, "", arguments=["--preset", "mini", *words], extend=seeds.options)
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == 1
