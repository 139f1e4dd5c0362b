"""Feedback of dynamic scale training: whether the next step sees regular images or collages (DST, section 3.1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pipeline.training.distributed import ALONE, World

if TYPE_CHECKING:
    from pipeline.config import CollageOptions
    from pipeline.models.heads.roi_heads import PositiveLosses

_STREAM = 0xC011A6E  # separates the draws of `random` from others that are seeded by (seed, step)


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
    """Return the small objects' share of a loss: their sum divided by the sum over all (DST, equation 2).

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


def small_object_share(areas: Tensor, threshold: float = 1024.0) -> float:
    """Return the share of small objects among those of box areas [n]; NaN without objects (DST, table 11)."""
    return share_of(*object_sums(areas, threshold).tolist())


def object_sums(areas: Tensor, threshold: float) -> Tensor:
    """Return the numbers of small objects and of all objects of box areas [n]: [2] in fp64."""
    areas = torch.as_tensor(areas)
    return share_sums(torch.ones_like(areas, dtype=torch.float64), areas, threshold)


def feedback_sums(feedback: str, positives: PositiveLosses, gt_areas: Tensor, threshold: float = 1024.0) -> Tensor:
    """Return a feedback's signal summed over small objects, and over all: [2] in fp64 (DST, table 11).

    Args:
        feedback: a value of `CollageOptions.feedback`. "random", "always" and "never" read nothing; for them it is the
            regression loss, to be logged.
        positives: losses of the step's positive RoIs.
        gt_areas: [n], box areas of the objects in the step's batch, in square pixels of the network's input.
        threshold: area below which an object is small.

    Differs from the authors' code, whose classification share divides the sum over small positives by the mean over all
    sampled RoIs and is hundreds of times too large. Here the divisor is the sum over positives ("classification_loss")
    or over all sampled RoIs ("classification_loss_all"); the paper does not say which. The joint share is only in the
    paper.

    Raises:
        ValueError: "classification_loss_all" for a detector that does not keep its background's loss.
    """
    if feedback == "input_ratio":
        return object_sums(gt_areas, threshold)
    losses = {
        "classification_loss": positives.classification,
        "classification_loss_all": positives.classification,
        "joint_loss": positives.regression + positives.classification,
    }.get(feedback, positives.regression)
    sums = share_sums(losses, positives.areas, threshold)
    if feedback != "classification_loss_all":
        return sums
    if positives.all_classification is None:
        raise ValueError("classification_loss_all needs `all_classification` in the positives' losses, found None.")
    return torch.stack([sums[0], positives.all_classification.double()])


def feedback_share(feedback: str, positives: PositiveLosses, gt_areas: Tensor, threshold: float = 1024.0) -> float:
    """Return the small objects' share of the signal that a feedback reads; arguments as `feedback_sums`."""
    return share_of(*feedback_sums(feedback, positives, gt_areas, threshold).tolist())


class ScaleFeedback:
    """Chooses collages for the next step if the small objects' share of this step's loss is below `threshold`.

    A training starts with a collage. Regular images follow a share that does not exist (NaN). A step that was skipped
    because an image had no objects makes no update. Each process of a distributed training decides alone unless
    `CollageOptions.reduce` is set.

    Differs from the paper: the comparison is strict, as in the authors' code.
    """

    def __init__(self, threshold: float = 0.1) -> None:
        self.threshold = threshold
        self.collage_next = True

    def update(self, share: float) -> bool:
        """Take the share of the last step and return whether the next step sees collages."""
        self.collage_next = float(share) < self.threshold  # False for NaN
        return self.collage_next

    def state_dict(self) -> dict[str, bool]:
        return {"collage_next": self.collage_next}

    def load_state_dict(self, state: dict[str, bool]) -> None:
        self.collage_next = bool(state["collage_next"])


class CollageSchedule:
    """Decides for every optimiser step whether it sees collages, by the feedback that the options name.

    Args:
        options: kind of feedback and its threshold.
        seed: of the experiment; "random" depends only on it and the step, so a resumed training draws the same.
        small_area: box area below which an object is small, in square pixels of the network's input.
        world: the processes that train together.
    """

    def __init__(self, options: CollageOptions, seed: int, small_area: float = 1024.0, world: World = ALONE) -> None:
        self.options, self.seed, self.small_area, self.world = options, seed, small_area, world
        self.feedback = ScaleFeedback(options.threshold)
        self._step = Sums()

    def collage(self, step: int) -> bool:
        """Return whether this optimiser step sees collages."""
        if self.options.feedback in ("always", "never"):
            return self.options.feedback == "always"
        if self.options.feedback == "random":
            return bool(np.random.default_rng((_STREAM, self.seed, step)).random() < 0.5)
        self._settle()
        return self.feedback.collage_next

    def observe(self, positives: PositiveLosses, areas: list[Tensor], last: bool = True) -> None:
        """Take the losses of a micro-batch and the box areas [n] of each image's objects.

        After the `last` micro-batch of an optimiser step, the sums over all of them decide. As in the authors' code, a
        step with an image without objects (in any process, where they decide together) decides nothing. The sums are
        read only when the next step asks, so that nothing waits for a GPU.
        """
        if self.options.feedback in ("random", "always", "never"):
            return
        sums = feedback_sums(self.options.feedback, positives, torch.cat(areas), self.small_area)
        empty = sums.new_full((1,), float(not all(len(part) for part in areas)))
        self._step.add(torch.cat([sums, empty]))
        if last:
            self._step.close(self.world if self.options.reduce else ALONE)

    def _settle(self) -> None:
        """Decide by the step that ended, if one has."""
        sums = self._step.read()
        if sums is not None and not sums[2]:
            self.feedback.update(share_of(sums[0], sums[1]))

    def state_dict(self) -> dict[str, Any]:
        self._settle()
        return self.feedback.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.feedback.load_state_dict(state)


class Sums:
    """Sums over the micro-batches of one step, copied to the CPU while the GPU continues."""

    def __init__(self) -> None:
        self._open: Tensor | None = None
        self._closed: Tensor | None = None
        self._copied: torch.cuda.Event | None = None

    def add(self, values: Tensor) -> None:
        """Add a micro-batch's values."""
        self._open = values if self._open is None else self._open + values

    def close(self, world: World) -> None:
        """End the step: sum over processes and start the copy to the CPU."""
        total, self._open = world.sum(self._open), None
        self._closed = total.to("cpu", non_blocking=total.is_cuda)
        self._copied = None
        if total.is_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record()

    def read(self) -> list[float] | None:
        """Return the last step's sums, or None where no step has ended since the last call."""
        if self._closed is None:
            return None
        if self._copied is not None:
            self._copied.synchronize()
        values, self._closed = self._closed.tolist(), None
        return values
