"""Learning rates by hand."""

import math

import pytest

from pipeline import config
from pipeline.options import Recipe
from pipeline.training.schedule import learning_rate

STEP = Recipe(batch=16, lr=0.02, source="test", milestones=(2 / 3, 8 / 9), warmup_ratio=1 / 3)
COSINE = Recipe(batch=16, lr=0.1, source="test", schedule="cosine")
EARLY = Recipe(batch=1, lr=1, source="test", milestones=(0.2,), warmup_ratio=0.5)  # inside the warm-up


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.02 / 3),
        (250, 0.02 * (1 / 3 + 2 / 3 * 0.5)),
        (499, 0.02 * (1 / 3 + 2 / 3 * 499 / 500)),
        (500, 0.02),
        (59_999, 0.02),
        (60_000, 0.002),
        (79_999, 0.002),
        (80_000, 0.0002),
        (89_999, 0.0002),
    ],
)
def test_warm_up_and_milestones_of_dst(step, rate):
    assert learning_rate(step, 90_000, 0.02, STEP, 500) == pytest.approx(rate)


def test_recipe_milestones_are_the_papers_iterations():
    recipe = config.resolve("dst_frcnn_r50_fpn_1x", "full").recipe
    # 0.6667 of 90,000 is 60,003: a share of four digits moves the drop by three iterations.
    drops = [s for s in range(1, 90_000) if learning_rate(s, 90_000, 1, recipe, 0) < learning_rate(s - 1, 90_000, 1, recipe, 0)]  # fmt: skip # noqa: E501
    assert len(drops) == 2
    assert drops == pytest.approx([60_000, 80_000], abs=5)


@pytest.mark.parametrize("times", [1, 2, 6])
def test_longer_schedules_stretch_the_milestones_and_not_the_warm_up(times):
    steps = (0, 500, 60_000 * times - 1, 60_000 * times, 80_000 * times - 1, 80_000 * times)
    found = [learning_rate(step, 90_000 * times, 0.02, STEP, 500) for step in steps]
    assert found == pytest.approx([0.02 / 3, 0.02, 0.02, 0.002, 0.002, 0.0002])


def test_snips_warm_up_is_constant_and_then_jumps():
    recipe = config.resolve("snip_drfcn_r50_7ep_snip", "full").recipe
    rates = [learning_rate(step, 100_000, recipe.lr, recipe, 1000) for step in (0, 500, 999, 1000, 70_000)]
    # 0.00005 and 0.0005 of losses summed over 8 GPUs
    assert rates == pytest.approx([8 * 5e-5] * 3 + [8 * 5e-4] * 2)


@pytest.mark.parametrize(
    ("recipe", "rate", "steps", "warm_up", "expected"),
    [
        (COSINE, 0.1, 1000, 0, {0: 0.1, 250: 0.1 * (0.5 + 2**0.5 / 4), 500: 0.05, 1000: 0}),
        (COSINE, 0.1, 1000, 0, {999: 0.1 * math.sin(math.pi / 2000) ** 2}),
        (COSINE, 0.1, 1000, 10, {0: 0.1 / 3, 10: 0.1 * math.cos(math.pi / 200) ** 2}),  # the warm-up multiplies it
        (STEP, 0.02, 10, 0, {0: 0.02}),
        (EARLY, 1.0, 10, 4, {2: 0.1 * 0.75}),
    ],
)
def test_rates_by_hand(recipe, rate, steps, warm_up, expected):
    found = {step: learning_rate(step, steps, rate, recipe, warm_up) for step in expected}
    assert found == pytest.approx(expected, abs=1e-12)
