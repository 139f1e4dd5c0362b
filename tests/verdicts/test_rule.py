"""The verdict rule: each word by hand, and which goes first."""

import math

import pytest

from pipeline.evaluation.intervals import smallest_detectable_gain
from pipeline.verdicts.rule import DECIDED, Judged, Word, judge

# half-width 2.776445 * sqrt(.006^2 + 2 * .004^2) = 2.776445 * sqrt(68e-6) = 0.022895
NOISE = {"sd_boot": 0.006, "sd_run": 0.004, "dof": 4}
HALF = 2.776445 * math.sqrt(68e-6)


@pytest.mark.parametrize(
    ("gain", "published", "word"),
    [
        (0.03, 1.2, "agrees"),
        (-0.03, -0.4, "agrees"),
        (0.03, -0.4, "contradicts"),
        (-0.03, 1.2, "contradicts"),
        (0.03, None, "decided up"),
        (-0.03, None, "decided down"),
        (0.03, 0.0, "decided up"),
        (-0.03, 0.0, "decided down"),
        (0.02, 1.2, "undecided"),
        (-0.02, 1.2, "undecided"),
        (0.0, None, "undecided"),
        (0.0229, 1.2, "agrees"),  # just outside the half-width of .022895
        (0.0228, 1.2, "undecided"),
    ],
)
def test_words(gain, published, word):
    verdict = judge(gain, published, **NOISE)
    assert verdict.word == word
    assert (verdict.low, verdict.high) == pytest.approx((gain - HALF, gain + HALF), abs=1e-7)
    assert verdict.decided == (word in DECIDED)


def test_a_preset_that_decides_nothing_has_no_interval():
    verdict = judge(0.03, 1.2, judged=False, **NOISE)
    assert (verdict.word, verdict.low, verdict.decided) == ("not judged", None, False)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"gain": 0.03, "published_gain": 1.2}, "[+0.7, +5.3], has the sign of the published gain."),
        ({"gain": -0.02, "published_gain": 1.2}, "[-4.3, +0.3], which includes zero."),
        ({"gain": -0.03}, "[-5.3, -0.7], is down; the paper prints no gain here."),
    ],
)
def test_sentences_carry_the_numbers(options, sentence):
    assert judge(**options, **NOISE).sentence == f"Gain {100 * options['gain']:+.1f} points, 95 % interval {sentence}"


@pytest.mark.parametrize(
    "noise",
    [
        {},
        {"sd_boot": 0.001},
        {"sd_boot": 0.001, "sd_run": None, "dof": 0},
        {"sd_boot": 0.001, "sd_run": 0.001, "dof": 0},
        {"sd_run": 0.001, "dof": 4},
    ],
)
def test_unknown_noise_decides_nothing(noise):
    verdict = judge(0.3, 1.2, **noise)
    assert (verdict.word, verdict.low, verdict.high) == ("undecided", None, None)
    missing = "run-to-run noise is unknown (a single run of each baseline in this preset)."
    missing = missing if "sd_boot" in noise else "image sampling noise is unknown (too few images)."
    assert verdict.sentence == f"Gain +30.0 points; its {missing}"


NOTHING = "The method changed nothing in this run: no collage was drawn."
LITTLE = "The baseline's AP50 of 12.3 is below the 20.0 needed to compare."
WEAK, IDLE = {"baseline_ap50": 0.1234, "ap50_floor": 0.2}, {"inactive": "no collage was drawn"}
DOUBT = {"doubt": "Whether it did anything is unknown."}


@pytest.mark.parametrize(
    ("gain", "options", "word", "sentence"),
    [
        (None, NOISE | WEAK | IDLE, "not run", "This row or its baseline has no result in this preset."),
        (0.03, NOISE | WEAK | IDLE | DOUBT, "inactive", NOTHING),
        (0.03, IDLE, "inactive", NOTHING),
        *((gain, noise | WEAK | DOUBT, "undertrained", LITTLE) for gain in (0.0, 0.03, -0.03) for noise in (NOISE, {})),
        (0.03, NOISE | DOUBT, "undecided", DOUBT["doubt"]),
        (0.02, NOISE | DOUBT, "undecided", "Gain +2.0 points, 95 % interval [-0.3, +4.3], which includes zero."),
        (0.03, NOISE | {"baseline_ap50": 0.2, "ap50_floor": 0.2}, "agrees", None),
        (0.03, NOISE | {"baseline_ap50": None, "ap50_floor": 0.2}, "agrees", None),
    ],
)
def test_which_word_goes_first(gain, options, word, sentence):
    verdict = judge(gain, 1.2, **options)
    assert verdict.word == word
    assert sentence in (None, verdict.sentence)
    known = gain is not None and "dof" in options
    assert verdict.low == (pytest.approx(gain - HALF, abs=1e-7) if known else None)


@pytest.mark.parametrize(
    ("judged", "plain", "half"),
    [
        (Judged(1.0, 0.5, 1.5, Word.CONTRADICTS), "helps", 0.5),  # the paper lost where this gains
        (Judged(-1.0, -2.0, -0.5, Word.AGREES), "hurts", 0.75),
        (Judged(9.0, 8.0, 10.0, Word.INACTIVE), "did nothing in this run", 1.0),
        (Judged(9.0, 8.0, 10.0, Word.UNDERTRAINED), "cannot tell (the baseline learnt too little)", 1.0),
        (Judged(None, None, None, Word.NO_OBJECT), "no object of this size", None),
        (Judged(None, None, None, Word.NOT_RUN), "not run", None),
    ],
)
def test_a_judged_gain_in_plain_words(judged, plain, half):
    assert (judged.plain, judged.half_width) == (plain, half)


def test_more_runs_narrow_the_interval_and_one_that_touches_zero_includes_it():
    assert smallest_detectable_gain(**NOISE) == pytest.approx(HALF, abs=1e-7)
    # sqrt(36e-6 + 16e-6 * 2/4) = sqrt(44e-6): half-width .018417
    verdict = judge(0.02, 1.2, **NOISE, runs=(4, 4))
    assert verdict.word == "agrees"
    assert verdict.low == pytest.approx(0.02 - 2.776445 * math.sqrt(44e-6), abs=1e-7)
    assert judge(0.0, 1.2, sd_boot=0.0, sd_run=0.0, dof=3).word == "undecided"
    assert judge(0.01, 1.2, sd_boot=0.0, sd_run=0.0, dof=3).word == "agrees"
