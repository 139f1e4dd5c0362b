"""The verdict rule: each word by hand, and which goes first."""

import math

import pytest

from pipeline.evaluation.intervals import SURE, Estimate
from pipeline.verdicts.rule import DECIDED, Judged, Word, judge

# five blocks whose differences deviate by .01: .01^2 / 5 = 20e-6 of trainings, .006^2 = 36e-6 of images, in all 56e-6;
# Welch and Satterthwaite: 4 * (56 / 20)^2 = 31.36, so 31 degrees of freedom, t = 2.039513
NOISE = {"blocks": 5, "sd_block": 0.01, "dof": 4, "sd_images": 0.006}
HALF = 2.039513 * math.sqrt(56e-6)  # 0.015262
UNKNOWN = {"blocks": 1, "sd_block": None, "dof": 0, "sd_images": 0.001}


def judged(gain, published=None, noise=NOISE, **options):
    return judge(None if gain is None else Estimate(gain=gain, **noise), published, **options)


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
        (0.01, 1.2, "undecided"),
        (-0.01, 1.2, "undecided"),
        (0.0, None, "undecided"),
        (0.0153, 1.2, "agrees"),  # just outside the half-width of .015262
        (0.0152, 1.2, "undecided"),
    ],
)
def test_words(gain, published, word):
    verdict = judged(gain, published)
    assert verdict.word == word
    assert (verdict.low, verdict.high) == pytest.approx((gain - HALF, gain + HALF), abs=1e-7)
    assert verdict.decided == (word in DECIDED)


def test_a_preset_that_decides_nothing_has_no_interval():
    verdict = judged(0.03, 1.2, judged=False)
    assert (verdict.word, verdict.low, verdict.decided) == ("not judged", None, False)
    assert verdict.judged(0.03).text == "+3.0"
    weak = judged(0.11, 1.2, judged=False, baseline_ap50=0.05, ap50_floor=0.2)
    assert (weak.word, weak.low, weak.judged(0.11).text) == ("undertrained", None, "undertrained")


@pytest.mark.parametrize(
    ("gain", "published", "sentence"),
    [
        (0.03, 1.2, "[+1.5, +4.5], has the sign of the published gain."),
        (-0.01, 1.2, "[-2.5, +0.5], which includes zero."),
        (-0.03, None, "[-4.5, -1.5], is down; the paper prints no gain here."),
    ],
)
def test_sentences_carry_the_numbers(gain, published, sentence):
    start = f"Gain {100 * gain:+.1f} points over 5 blocks, 95 % interval"
    assert judged(gain, published).sentence == f"{start} {sentence}"


@pytest.mark.parametrize(
    ("published", "size"),
    [
        (1.4, "published size excluded"),  # below the interval, 1.47 to 4.53
        (1.5, "compatible with the published size"),
        (4.5, "compatible with the published size"),
        (4.6, "published size excluded"),
        (None, ""),
    ],
)
def test_a_published_size_is_excluded_where_it_lies_outside_of_the_interval(published, size):
    assert judged(0.03, published).size == size


@pytest.mark.parametrize(
    ("noise", "sentence"),
    [
        ({}, "the noise of training is unknown (one training of each)."),
        ({"sd_images": None}, "the noise of image sampling is unknown (too few images)."),
        ({"sd_block": 0.001}, "the noise of training is unknown (one training of each)."),  # no degree of freedom
    ],
)
def test_unknown_noise_decides_nothing(noise, sentence):
    verdict = judged(0.3, 1.2, UNKNOWN | noise)
    assert (verdict.word, verdict.low, verdict.high) == ("undecided", None, None)
    assert verdict.sentence == f"Gain +30.0 points; {sentence}"


NOTHING = "The method changed nothing in this run: no collage was drawn."
LITTLE = "The baseline's AP50 of 12.3 is below the 20.0 needed to compare."
WEAK, IDLE = {"baseline_ap50": 0.1234, "ap50_floor": 0.2}, {"inactive": "no collage was drawn"}
DOUBT = {"doubt": "Whether it did anything is unknown."}


@pytest.mark.parametrize(
    ("gain", "noise", "options", "word", "sentence"),
    [
        (None, NOISE, WEAK | IDLE, "not run", "This row or its baseline has no result in this preset."),
        (0.03, NOISE, WEAK | IDLE | DOUBT, "inactive", NOTHING),
        (0.03, UNKNOWN, IDLE, "inactive", NOTHING),
        *(
            (gain, noise, WEAK | DOUBT, "undertrained", LITTLE)
            for gain in (0.0, 0.03, -0.03)
            for noise in (NOISE, UNKNOWN)
        ),
        (0.03, NOISE, DOUBT, "undecided", DOUBT["doubt"]),
        (0.01, NOISE, DOUBT, "undecided", None),
        (0.03, NOISE, {"baseline_ap50": 0.2, "ap50_floor": 0.2}, "agrees", None),
        (0.03, NOISE, {"baseline_ap50": None, "ap50_floor": 0.2}, "agrees", None),
    ],
)
def test_which_word_goes_first(gain, noise, options, word, sentence):
    verdict = judged(gain, 1.2, noise, **options)
    assert verdict.word == word
    assert sentence in (None, verdict.sentence)
    known = gain is not None and noise is NOISE
    assert verdict.low == (pytest.approx(gain - HALF, abs=1e-7) if known else None)


@pytest.mark.parametrize(
    ("told", "plain", "half"),
    [
        (Judged(1.0, 0.5, 1.5, Word.CONTRADICTS), "helps", 0.5),  # the paper lost where this gains
        (Judged(-1.0, -2.0, -0.5, Word.AGREES), "hurts", 0.75),
        (Judged(9.0, 8.0, 10.0, Word.INACTIVE), "did nothing in this run", 1.0),
        (Judged(9.0, 8.0, 10.0, Word.UNDERTRAINED), "cannot tell (the baseline learnt too little)", 1.0),
        (Judged(None, None, None, Word.NO_OBJECT), "no object of this size", None),
        (Judged(None, None, None, Word.NOT_RUN), "not run", None),
    ],
)
def test_a_judged_gain_in_plain_words(told, plain, half):
    assert (told.plain, told.half_width) == (plain, half)


def test_what_touches_zero_includes_it():
    exact = {"blocks": 1, "sd_block": 0.0, "dof": SURE, "sd_images": 0.0}
    assert judged(0.0, 1.2, exact).word == "undecided"
    assert judged(0.01, 1.2, exact).word == "agrees"
