"""The divisor of a loss: the number of its positives or samples, in this process or averaged over all."""

from collections.abc import Callable

from torch import Tensor, nn

Normaliser = Callable[..., "float | Tensor"]  # maps a count and the least divisor (default 1) to a divisor


def local_normaliser(count: float | Tensor, least: float = 1.0) -> float | Tensor:
    """Return this process's count, but at least `least`: the divisor in every paper's code."""
    return count.clamp(min=least) if isinstance(count, Tensor) else max(count, least)


def normalised(mean: Tensor, count: int, normaliser: Normaliser) -> Tensor:
    """Return the mean loss of `count` entries with the normaliser's divisor in place of `count`."""
    return mean if normaliser is local_normaliser else mean * (count / normaliser(count))


def set_normaliser(model: nn.Module, normaliser: Normaliser) -> int:
    """Set the normaliser of all parts of a network that have one, and return their number."""
    parts = [module for module in model.modules() if hasattr(module, "normaliser")]
    for module in parts:
        module.normaliser = normaliser
    return len(parts)
