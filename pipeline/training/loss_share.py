"""Which share of a step's loss small objects carried: what every training logs, and DST decides by (section 3.2.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def share_sums(losses: Tensor, areas: Tensor, threshold: float = 1024.0) -> Tensor:
    """Return the sums of the losses of small objects and of all objects, [2] in fp64, without waiting for a GPU.

    Args:
        losses: [p], one for each positive.
        areas: [p], box area of the object that each positive is matched to, in square pixels of the network's input.
        threshold: an object is small if its area is (strictly) less.
    """
    losses, areas = torch.as_tensor(losses), torch.as_tensor(areas)
    if losses.shape != areas.shape or losses.dim() != 1:
        raise ValueError(f"losses and areas must both be [p], found {list(losses.shape)} and {list(areas.shape)}.")
    losses = losses.detach().double()
    return torch.stack([torch.where(areas < threshold, losses, 0.0).sum(), losses.sum()])


def small_loss_share(losses: Tensor, areas: Tensor, threshold: float = 1024.0) -> float:
    """Return the small objects' share of a loss: their sum divided by the sum over all (DST, section 3.2.1).

    Normalisation cancels, so `losses` are those of one step's positive RoIs or anchors, not averaged.

    Args:
        losses: [p], one for each positive.
        areas: [p], box area of the object that each positive is matched to, in square pixels of the network's input.
        threshold: an object is small if its area is (strictly) less.

    Returns:
        A number in [0, 1], or NaN where there is no positive or all losses are 0.

    Differs from the paper, whose "COCO's protocol" would read original pixels: areas are those in the network's input,
    after resizing and collage, as in the authors' code.
    """
    return share_of(*share_sums(losses, areas, threshold).tolist())


def share_of(small: float, total: float) -> float:
    """Return small / total, NaN where the total is 0."""
    return small / total if total else math.nan
