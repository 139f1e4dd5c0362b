"""How long a training is: an epoch of an image pyramid counts an image once for each of its resolutions or chips.

SNIP, section 7.1: "an image may be forward propagated multiple times per epoch", and SNIP makes an epoch longer.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.spec import Spec, epoch_steps


class Units(NamedTuple):
    """Network inputs that an image gives an epoch on average, by resolution: without valid ranges, and with them."""

    plain: tuple[float, ...] = (1.0,)
    ranged: tuple[float, ...] = ()


class Length(NamedTuple):
    """Length of a training in optimiser steps."""

    steps: int
    ranges_from: int | None  # first step with valid ranges, None without SNIP
    milestones: tuple[int, ...]  # first steps of lower learning rates

    @property
    def milestone_shares(self) -> tuple[float, ...]:
        """The milestones as shares of the steps, where a recipe's are shares of the epochs."""
        return tuple(step / self.steps for step in self.milestones)


def training_length(spec: Spec, images: int, units: Units) -> Length:
    """Return the length of a training on `images` images.

    Shares of the schedule are shares of its epochs. An epoch has as many steps as its units need, so a preset's `steps`
    and a recipe's iterations are those of a single resolution.
    """
    single = epoch_steps(spec, images)
    start = spec.experiment.method.snip.starts_after if units.ranged else 1.0

    def reached(share: float) -> int:
        """Return the steps until a share of the epochs is over."""
        return round(single * (min(share, start) * sum(units.plain) + max(share - start, 0) * sum(units.ranged)))

    first = reached(start) if units.ranged else None
    return Length(max(1, reached(1.0)), first, tuple(map(reached, spec.recipe.milestones)))
