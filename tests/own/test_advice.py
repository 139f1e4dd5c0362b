"""Advice from invented results says what a statistician would: no gain without its interval."""

import pytest

from pipeline.evaluation.intervals import Estimate
from pipeline.own.advice import Offer, advise, cheapest_like, frontier, top, untold


def gains(sd: float = 0.004, blocks: int = 3):
    """Return the estimate of a gain whose noise is the same for all pairs; the half-width is about 2.8 sd."""
    return lambda one, other: Estimate(one.ap - other.ap, blocks, sd * blocks**0.5, 20, sd)


PLAIN = Offer("plain", 0.49, 1.0, 1.0, True)
LONGER = Offer("longer", 0.54, 1.0, 2.0, True)
SINGLE = Offer("single", 0.40, 1.5, 1.0, True)
SNIP = Offer("SNIP", 0.41, 4.4, 3.0, False)
DST = Offer("DST", 0.52, 1.0, 1.0, False)


def test_what_wins_in_its_recipe_and_loses_outside_is_not_advised():
    """SNIP is told above its single scale, and below the plain detector, which costs a quarter."""
    best, at_one, worth = advise([PLAIN, SINGLE, SNIP], gains(0.001))
    assert best == "**Best: plain**, 49.0 AP, above every other detector as far as one can tell."
    assert at_one.startswith("Plain is also the best at the plain")
    assert worth.startswith("**Not worth it**, beside the best plain detector of no more cost: SNIP -8.0 [")
    assert worth.endswith("] over plain at 4.4x inference, 3.0x training.")


def test_a_method_beside_another_baseline_is_shown_beside_its_own_too():
    snip = SNIP._replace(own="single")
    worth = advise([PLAIN, SINGLE, snip], gains(0.001))[-1]
    assert "SNIP -8.0 [" in worth
    assert " (+1.0 [" in worth
    assert "over single, its own baseline)" in worth
    dst = DST._replace(own="plain")
    assert "its own baseline" not in advise([PLAIN, dst], gains(0.001))[-1]


def test_longer_training_is_a_candidate_like_any_other():
    best, at_one, worth, other = advise([PLAIN, LONGER, SINGLE, SNIP, DST], gains(0.001))
    assert best.startswith("**Best: longer**, 54.0 AP")
    assert "also the best" in at_one
    assert "DST +3.0 [" in worth  # over the plain detector of its cost
    assert "but longer lies +2.0 [" in worth
    assert "SNIP -13.0 [" in other
    assert "over longer at 4.4x inference" in other


def test_a_gain_that_costs_inference_leaves_a_second_choice():
    dear = Offer("three resolutions", 0.60, 4.4, 1.0, False)
    best, at_one, worth = advise([PLAIN, DST, dear], gains(0.001))
    assert best.startswith("**Best: three resolutions**, 60.0")
    assert at_one.startswith("**At the plain detector's cost of inference: DST**, 52.0 AP for 1.0x")
    assert "over plain: +3.0 [" in at_one
    assert worth.startswith("**Worth its cost**")
    assert "three resolutions +11.0" in worth
    assert "lies" not in worth


def test_where_nothing_can_be_told_the_cheapest_is_taken():
    best, worth = advise([PLAIN, LONGER, DST], gains(0.05))
    assert best.startswith("**Highest AP: longer**, 54.0; it cannot be told from DST and plain.")
    assert "**The cheapest of these is DST** (52.0 AP at 1.0x inference, 1.0x training)" in best
    assert worth.startswith("**Cannot be told at the same cost**")
    assert "DST +3.0 [" in worth  # which its interval does not tell from none


def test_when_everything_is_equal_the_plain_detector_is_named():
    offers = [Offer("method", 0.5, 1.0, 1.0, False), Offer("plain", 0.5, 1.0, 1.0, True)]
    best, at_one, worth = advise(offers, gains())
    assert best == "**Highest AP: plain**, 50.0; it cannot be told from method. None of these is cheaper: take it."
    assert "also the best" in at_one
    assert worth.startswith("**Cannot be told at the same cost**")
    assert "method 0.0 [" in worth


def test_a_tenth_of_the_training_is_no_reason_to_lose_points():
    """Recipes differ a little in length: of what costs the same, the highest AP counts."""
    shorter = Offer("plain, another recipe", 0.485, 1.0, 0.9, True)
    best, _, worth = advise([PLAIN, shorter, DST], gains(0.02))
    assert best.startswith("**Highest AP: DST**, 52.0; it cannot be told from plain and plain, another recipe. None")
    assert worth.startswith("**Cannot be told at the same cost**")
    assert "over plain at 1.0x" in worth


def test_what_another_of_its_cost_is_told_above_is_no_choice():
    """Longer training cannot be told from either; the method is told above the plain detector of its cost."""
    method = DST._replace(training=1.1)

    def gain(one: Offer, other: Offer) -> Estimate:
        return gains(0.001 if "longer" not in (one.name, other.name) else 0.05)(one, other)

    best, worth = advise([PLAIN, LONGER, method], gain)
    assert best.startswith(
        "**Highest AP: longer**, 54.0; it cannot be told from DST and plain. **The cheapest of these is DST**"
    )
    assert worth.startswith("**Worth its cost**")


def test_a_dearer_method_that_cannot_be_told_is_not_worth_it():
    dear = Offer("pyramid", 0.50, 4.4, 1.0, False)
    assert "**Not worth it**" in advise([PLAIN, dear], gains(0.05))[-1]


def test_where_every_plain_detector_costs_more_that_is_said():
    quick = Offer("quick", 0.50, 0.5, 1.0, False)
    worth = advise([PLAIN, LONGER, quick], gains(0.001))[-1]
    assert worth.startswith("**Worth its cost**")
    assert "over plain, which costs more, at 0.5x inference" in worth


@pytest.mark.parametrize("sd", [0.0001, 0.004, 0.02, 0.3])
def test_nothing_is_advised_that_lies_below_what_costs_no_more(sd):
    """Over every noise, on offers with ties of AP and of costs."""
    offers = [Offer(f"{a}/{i}/{t}", 0.3 + 0.01 * (7 * a % 5), i, t, not a % 2)
              for a in range(9) for i in (1.0, 2.0) for t in (1.0, 3.0)]  # fmt: skip
    choice = cheapest_like(top(offers), offers, gains(sd))
    for other in offers:
        if other.inference <= choice.inference and other.training <= choice.training:
            assert other.ap <= choice.ap


def test_the_frontier_keeps_what_nothing_cheaper_reaches():
    same = Offer("same, dearer", 0.52, 1.0, 2.0, False)
    assert frontier([PLAIN, LONGER, SINGLE, SNIP, DST, same]) == [LONGER, DST]
    unknown = Offer("unknown cost", 0.5, float("inf"), float("inf"), False)
    assert unknown not in frontier([PLAIN, DST, unknown])
    assert frontier([unknown]) == [unknown]


def test_one_detector_and_none():
    (line,) = advise([], gains())
    assert "No detector was scored" in line
    assert advise([PLAIN], gains()) == ["**Trained so far: plain**, 49.0 AP; there is nothing beside it yet."]
    assert advise([SNIP, DST], gains())[1].startswith("No plain detector was trained")


def test_unknown_noise_tells_nothing():
    unknown = lambda one, other: Estimate(one.ap - other.ap, 1, None, 0, 0.01)  # noqa: E731
    best, *_ = advise([PLAIN, SNIP], unknown)
    assert best.startswith("**Highest AP: plain**, 49.0; it cannot be told from SNIP.")
    (line,) = untold([("SNIP", unknown(SNIP, PLAIN))], 72)
    assert "known from SEEDS=3 on" in line


def test_what_would_tell_a_gain():
    noise = Estimate(0.012, 3, 0.012, 20, 0.003)
    (line,) = untold([("DST", noise), ("told", Estimate(0.5, 3, 0.01, 20, 0.01)), ("none", None)], 72)
    assert "DST (+1.2 [" in line
    assert " blocks in the place of 3" in line
    assert "told" not in line.partition("DST")[2].partition("would")[0]
    (line,) = untold([("A", Estimate(0.001, 3, 0.01, 20, 0.01)), ("B", Estimate(-0.001, 3, 0.01, 20, 0.01))], None)
    assert "A and B: under 0.5 points either way, too little to look for" in line
    (line,) = untold([("A", Estimate(0.006, 3, 0.2, 20, 0.2))], None)
    assert "not with 64 blocks, nor with 64 times the pictures" in line
    (line,) = untold([("A", Estimate(0.03, 3, 0.001, 20, 0.02))], 72)
    assert "validation pictures" in line
    assert untold([], 72) == []


def test_one_method_that_was_trained_once_hides_no_other():
    once = Estimate(0.03, 1, None, 0, 0.01)
    (line,) = untold([("DST", Estimate(0.012, 3, 0.012, 20, 0.003)), ("MSFM", once)], 72)
    assert "DST (+1.2 [" in line
    assert "MSFM: trained once" in line
