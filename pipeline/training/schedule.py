"""Learning rates over a training: linear or constant warm-up, then steps or half a cosine."""

from __future__ import annotations

import math

from pipeline.options import Recipe


def learning_rate(step: int, steps: int, base: float, recipe: Recipe, warmup: int) -> float:
    """Return the learning rate of a step.

    Args:
        step: optimiser step, from 0.
        steps: length of the training.
        base: rate after the warm-up.
        recipe: has the schedule, milestones (shares of the training), decay, and the form and ratio of the warm-up.
        warmup: steps of the warm-up.
    """
    if recipe.schedule == "cosine":
        rate = base * 0.5 * (1 + math.cos(math.pi * step / steps))
    else:
        rate = base * recipe.gamma ** sum(step >= round(share * steps) for share in recipe.milestones)
    if step < warmup:
        rise = step / warmup if recipe.warmup == "linear" else 0.0
        rate *= recipe.warmup_ratio + (1 - recipe.warmup_ratio) * rise
    return rate
