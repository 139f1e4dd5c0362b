"""Learning rates over a training: linear warm-up, then steps or half a cosine."""

from __future__ import annotations

import math

from pipeline.options import Recipe


def learning_rate(step: int, steps: int, base: float, recipe: Recipe, warmup: int) -> float:
    """Return the learning rate of a step.

    Args:
        step: optimiser step, from 0.
        steps: length of the training.
        base: rate after the warm-up.
        recipe: has the schedule, milestones (shares of the training), decay and the ratio at which warm-up starts.
        warmup: steps of the warm-up.
    """
    if recipe.schedule == "cosine":
        rate = base * 0.5 * (1 + math.cos(math.pi * step / steps))
    else:
        rate = base * recipe.gamma ** sum(step >= round(share * steps) for share in recipe.milestones)
    if step < warmup:
        rate *= recipe.warmup_ratio + (1 - recipe.warmup_ratio) * step / warmup
    return rate
