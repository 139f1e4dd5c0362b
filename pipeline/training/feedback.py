"""Feedback of dynamic scale training: does the next step see regular images or collages (DST, section 3.1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from pipeline.config import CollageOptions
    from pipeline.models.roi_heads import PositiveLosses

_STREAM = 0xC011A6E  # keeps the draws of `random` apart from others that are seeded by (seed, step)


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
    losses, areas = torch.as_tensor(losses), torch.as_tensor(areas)
    if losses.shape != areas.shape or losses.dim() != 1:
        raise ValueError(f"losses and areas must both be [p], found {list(losses.shape)} and {list(areas.shape)}.")
    losses = losses.detach().double()
    total = float(losses.sum())
    return float(losses[areas < threshold].sum()) / total if total else math.nan


def small_object_share(areas: Tensor, threshold: float = 1024.0) -> float:
    """Return the share of a batch's objects, by box areas [n], that are small; NaN without objects (DST, table 11)."""
    areas = torch.as_tensor(areas)
    return small_loss_share(torch.ones_like(areas, dtype=torch.float64), areas, threshold)


def feedback_share(feedback: str, positives: PositiveLosses, gt_areas: Tensor, threshold: float = 1024.0) -> float:
    """Return the share of small objects in the signal that a feedback reads (DST, section 3.1 and table 11).

    Args:
        feedback: a value of `CollageOptions.feedback`. "random" and "always" read nothing; theirs is the share of the
            regression loss, for the record.
        positives: losses of the step's positive RoIs.
        gt_areas: [n], box areas of the objects in the step's batch, in pixels of the network's input.
        threshold: area under which an object is small.

    Differs from the authors' code: the classification share divides by the sum over positives, where theirs divides by
    the mean over all RoIs and comes out hundreds of times too large. The joint share is described in the paper only.
    """
    if feedback == "input_ratio":
        return small_object_share(gt_areas, threshold)
    losses = {
        "classification_loss": positives.classification,
        "joint_loss": positives.regression + positives.classification,
    }.get(feedback, positives.regression)
    return small_loss_share(losses, positives.areas, threshold)


class ScaleFeedback:
    """Chooses collages for the next step where small objects carried less than `threshold` of the loss in this one.

    A training starts with a collage. A share that does not exist (NaN) is followed by regular images. A step that was
    skipped, because an image had no objects, makes no update. Each process of a distributed training decides alone.

    Differs from the paper: the comparison is strict, as in the authors' code.
    """

    def __init__(self, threshold: float = 0.1) -> None:
        self.threshold = threshold
        self.collage_next = True

    def update(self, share: float) -> bool:
        """Take the share of the step just done and return whether the next step sees collages."""
        self.collage_next = float(share) < self.threshold  # False for NaN
        return self.collage_next

    def state_dict(self) -> dict[str, bool]:
        return {"collage_next": self.collage_next}

    def load_state_dict(self, state: dict[str, bool]) -> None:
        self.collage_next = bool(state["collage_next"])


class CollageSchedule:
    """Tells for every step whether it sees collages, by the feedback that the options name.

    Args:
        options: kind of feedback and its threshold.
        seed: of the experiment; "random" depends on it and the step alone, so a resumed training draws the same.
        small_area: box area under which an object is small, in pixels of the network's input.
    """

    def __init__(self, options: CollageOptions, seed: int, small_area: float = 1024.0) -> None:
        self.options = options
        self.seed = seed
        self.small_area = small_area
        self.feedback = ScaleFeedback(options.threshold)

    def collage(self, step: int) -> bool:
        """Return whether this step sees collages."""
        if self.options.feedback == "always":
            return True
        if self.options.feedback == "random":
            return bool(np.random.default_rng((_STREAM, self.seed, step)).random() < 0.5)
        return self.feedback.collage_next

    def observe(self, positives: PositiveLosses, gt_areas: Tensor) -> float:
        """Take the losses and the objects' areas of the step just done; return the share that the feedback reads."""
        share = feedback_share(self.options.feedback, positives, gt_areas, self.small_area)
        self.feedback.update(share)
        return share

    def state_dict(self) -> dict[str, bool]:
        return self.feedback.state_dict()

    def load_state_dict(self, state: dict[str, bool]) -> None:
        self.feedback.load_state_dict(state)
