"""Lengths of trainings by hand: an epoch of a pyramid has as many steps as its units."""

from __future__ import annotations

import pytest
import tiny
from msgspec.structs import replace

from pipeline.training.epochs import Length, Units, training_length
from pipeline.training.schedule import learning_rate

ALL, CHIPS = (1.0, 1.0, 1.0), (1.5, 0.6, 0.4)  # inputs of an image without ranges and with them: 3 and 2.5


def spec(name: str, steps: int | None = None, batch: int = 8):
    """Return an experiment with SNIP's own epochs, on a preset of `steps` or none."""
    from pipeline import config

    return replace(config.resolve(name, "full"), preset=tiny.preset(steps=steps, batch=batch, lr=None))


def test_one_resolution_is_as_long_as_ever():
    found = training_length(spec("snip_drfcn_r50_7ep_single_scale"), 800, Units())
    assert found == Length(700, None, (533,))  # 7 epochs of 100 steps, the drop after 5.33
    found = training_length(spec("snip_drfcn_r50_7ep_single_scale", steps=1200), 800, Units())
    assert found == Length(700, None, (533,))  # 1200 steps are 12 epochs


@pytest.mark.parametrize("steps", [None, 1200])
def test_a_pyramid_is_longer_by_its_units(steps):
    found = training_length(spec("snip_drfcn_r50_7ep_ms_train", steps), 800, Units(ALL))
    assert found == Length(2100, None, (1599,))
    found = training_length(spec("snip_drfcn_r50_7ep_snip", steps), 800, Units(ALL, CHIPS))
    # 3 epochs of 300 steps and 4 of 250; the drop is 2.33 epochs after the switch: 582.5 steps
    assert found == Length(1900, 900, (1483,))
    found = training_length(spec("snip_rpn_r50_6ep_snip_conv45_7anchor", steps), 800, Units(ALL, CHIPS))
    assert found == Length(300 + 5 * 250, 300, (1133,))
    for epochs in (8, 9):
        found = training_length(spec(f"snip_drfcn_r50_{epochs}ep_ms_train", steps), 800, Units(ALL))
        assert found.steps == epochs * 300


def test_ranges_from_the_start_leave_no_other_epoch():
    limited = spec("snip_drfcn_r50_7ep_range_limited_1400")
    assert training_length(limited, 800, Units((1.0,), (0.5,))) == Length(350, 0, (267,))


def test_the_rate_drops_at_the_milestones_in_steps():
    found = spec("snip_drfcn_r50_7ep_snip")
    length = training_length(found, 800, Units(ALL, CHIPS))
    recipe = found.with_milestones(length.milestone_shares).recipe
    rates = [learning_rate(step, length.steps, 1.0, recipe, 0) for step in range(length.steps)]
    assert [step for step in range(1, length.steps) if rates[step] != rates[step - 1]] == list(length.milestones)
