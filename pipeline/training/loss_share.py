"""Which share of a step's loss small objects carried: what every training logs, and DST decides by (equation 2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def share_sums(losses: Tensor, areas: Tensor, threshold: float = 1024.0) -> Tensor:
    """Return what losses [p] of small objects and of all add up to, [2] in fp64, without waiting for a GPU.

    Args:
        losses: [p], one for each positive.
        areas: [p], box area of the object that each positive is matched to, in pixels of the network's input.
        threshold: an object of less area (strictly) is small.
    """
    losses, areas = torch.as_tensor(losses), torch.as_tensor(areas)
    if losses.shape != areas.shape or losses.dim() != 1:
        raise ValueError(f"losses and areas must both be [p], found {list(losses.shape)} and {list(areas.shape)}.")
    losses = losses.detach().double()
    return torch.stack([torch.where(areas < threshold, losses, 0.0).sum(), losses.sum()])


def small_loss_share(losses: Tensor, areas: Tensor, threshold: float = 1024.0) -> float:
    """Return the share of a loss that small objects carry, sum over sum (DST, equation 2).

    Normalisation cancels, so losses are those of one step's positive RoIs or anchors, not averaged.

    Args:
        losses: [p], one for each positive.
        areas: [p], box area of the object that each positive is matched to, in pixels of the network's input.
        threshold: an object of less area (strictly) is small.

    Returns:
        A number in [0, 1]; NaN where it does not exist: without a positive, or where all losses are 0.

    Differs from the paper: areas are those of the network's input, after resizing and collage, as in the authors' code;
    "COCO's protocol" would read original pixels.
    """
    return share_of(*share_sums(losses, areas, threshold).tolist())


def share_of(small: float, total: float) -> float:
    """Return small / total, NaN where the total is 0."""
    return small / total if total else math.nan
