"""Learning rates by hand."""

from __future__ import annotations

import pytest

from pipeline.options import Recipe
from pipeline.training.schedule import learning_rate

STEP = Recipe(batch=16, lr=0.02, source="test", milestones=(2 / 3, 8 / 9), warmup_ratio=1 / 3)
COSINE = Recipe(batch=16, lr=0.1, source="test", schedule="cosine")


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
    from pipeline import config

    recipe = config.resolve("dst_frcnn_r50_fpn_1x", "full").recipe
    # 0.6667 of 90,000 is 60,003: a share of four digits moves the drop by three iterations.
    drops = [s for s in range(1, 90_000) if learning_rate(s, 90_000, 1, recipe, 0) < learning_rate(s - 1, 90_000, 1, recipe, 0)]  # fmt: skip # noqa: E501
    assert len(drops) == 2
    assert drops == pytest.approx([60_000, 80_000], abs=5)


@pytest.mark.parametrize("times", [1, 2, 6])
def test_longer_schedules_stretch_the_milestones_and_not_the_warm_up(times):
    steps = 90_000 * times

    def rate(step: int) -> float:
        return learning_rate(step, steps, 0.02, STEP, 500)

    found = [rate(step) for step in (0, 500, 60_000 * times - 1, 60_000 * times, 80_000 * times - 1, 80_000 * times)]
    assert found == pytest.approx([0.02 / 3, 0.02, 0.02, 0.002, 0.002, 0.0002])


def test_cosine_starts_high_halves_and_ends_at_zero():
    assert learning_rate(0, 1000, 0.1, COSINE, 0) == pytest.approx(0.1)
    assert learning_rate(250, 1000, 0.1, COSINE, 0) == pytest.approx(0.1 * (0.5 + 2**0.5 / 4))
    assert learning_rate(500, 1000, 0.1, COSINE, 0) == pytest.approx(0.05)
    assert learning_rate(999, 1000, 0.1, COSINE, 0) == pytest.approx(0.1 * (0.5e-3 * 3.14159265) ** 2, rel=1e-4)
    assert learning_rate(1000, 1000, 0.1, COSINE, 0) == pytest.approx(0, abs=1e-12)


def test_warm_up_multiplies_the_cosine():
    assert learning_rate(0, 1000, 0.1, COSINE, 10) == pytest.approx(0.1 / 3)
    assert learning_rate(10, 1000, 0.1, COSINE, 10) == learning_rate(10, 1000, 0.1, COSINE, 0)


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert learning_rate(0, 10, 0.02, STEP, 0) == 0.02


def test_a_milestone_inside_the_warm_up():
    recipe = Recipe(batch=1, lr=1, source="test", milestones=(0.2,), warmup_ratio=0.5)
    assert learning_rate(2, 10, 1.0, recipe, 4) == pytest.approx(0.1 * 0.75)
