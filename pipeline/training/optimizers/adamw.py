"""Adam with decoupled weight decay, for trainings too short for SGD."""

from typing import Any

import torch

from pipeline.options import Recipe


def build(groups: list[dict[str, Any]], lr: float, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser of groups of parameters that name their own weight decay."""
    return torch.optim.AdamW(groups, lr, fused=True)
