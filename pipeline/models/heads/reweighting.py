"""Regression losses of small objects amplified to equal the others' in every step: the control of DST, table 1."""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.spec import Spec

LEAST_SHARE = 1e-3  # a smaller share counts as this much, so that no box weighs more than a thousand times its own


def small_loss_weight(share: Tensor) -> Tensor:
    """Return the weight [] of small objects' loss that makes it equal that of medium and large ones: (1 - s) / s.

    Args:
        share: s [], the small objects' share of a step's regression loss, in [0, 1].

    Differs from the paper, which prints no limits: the weight amplifies only (it is 1 where small objects carry half of
    the loss or more), and a share below `LEAST_SHARE` counts as `LEAST_SHARE`, because the gradient of a box that is
    almost right would grow without bound.
    """
    return ((1 - share) / share.clamp(min=LEAST_SHARE)).clamp(min=1)


def reweighted(losses: Tensor, areas: Tensor, small_below: float | None) -> Tensor:
    """Return losses [P] with small objects' amplified to sum to what the others' sum to (DST, section 4.2.1).

    The share is that of this batch in this process, and carries no gradient.

    Args:
        losses: [P], one for each positive.
        areas: [P], box area of the object that each positive is matched to, in square pixels of the network's input.
        small_below: an object is small if its area is less; None changes nothing.
    """
    if small_below is None:
        return losses
    small = areas < small_below
    known = losses.detach()
    share = (known * small).sum() / known.sum().clamp(min=1e-12)
    return losses * small_loss_weight(share).where(small, 1.0)


def set_reweighting(part: nn.Module, spec: Spec) -> None:
    """Let RoI heads or a dense head reweight small objects' regression loss, at the preset's lengths, if asked for."""
    if spec.experiment.method.small_loss_reweight:
        part.small_below = (32 * spec.preset.factor) ** 2
