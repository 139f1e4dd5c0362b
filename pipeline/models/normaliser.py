"""What a loss is divided by: the number of its positives or samples, here or over all processes."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Normaliser = Callable[..., "float | Tensor"]  # maps a count, and the least divisor (1), to a divisor


def local_normaliser(count: float | Tensor, least: float = 1.0) -> float | Tensor:
    """Return the count of this process's images, at least `least`: what every paper's code divides by."""
    return count.clamp(min=least) if isinstance(count, Tensor) else max(count, least)


def normalised(mean: Tensor, count: int, normaliser: Normaliser) -> Tensor:
    """Return a mean loss over `count` entries, divided by what the normaliser makes of the count instead."""
    return mean if normaliser is local_normaliser else mean * (count / normaliser(count))


def set_normaliser(model: nn.Module, normaliser: Normaliser) -> int:
    """Give another normaliser to all parts of a network that divide by one; return how many there are."""
    parts = [module for module in model.modules() if hasattr(module, "normaliser")]
    for module in parts:
        module.normaliser = normaliser
    return len(parts)
