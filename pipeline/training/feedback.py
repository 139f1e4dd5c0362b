"""Feedback of dynamic scale training: whether the next step sees regular images or collages (DST, section 3.2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pipeline.models.arriving import Arriving
from pipeline.training.distributed import ALONE, World
from pipeline.training.loss_share import share_of, share_sums

if TYPE_CHECKING:
    from pipeline.models.heads.roi_heads import PositiveLosses
    from pipeline.options import CollageOptions

_STREAM = 0xC011A6E  # separates the draws of `random` from others that are seeded by (seed, step)


def small_object_share(areas: Tensor, threshold: float = 1024.0) -> float:
    """Return the share of small objects among those of box areas [n]; NaN without objects (DST, table 11)."""
    return share_of(*object_sums(areas, threshold).tolist())


def object_sums(areas: Tensor, threshold: float) -> Tensor:
    """Return the numbers of small objects and of all objects of box areas [n]: [2] in fp64."""
    areas = torch.as_tensor(areas)
    return share_sums(torch.ones_like(areas, dtype=torch.float64), areas, threshold)


def feedback_sums(
    feedback: str,
    positives: PositiveLosses,
    gt_areas: Tensor,
    threshold: float = 1024.0,
    regression: Tensor | None = None,
) -> Tensor:
    """Return what small objects carry of the signal that a feedback reads, and all of it, [2] in fp64 (DST, table 11).

    Args:
        feedback: a value of `CollageOptions.feedback`. "random", "always" and "never" read nothing; theirs is the
            regression loss, for the record.
        positives: losses of the step's positive RoIs.
        gt_areas: [n], box areas of the objects in the step's batch, in pixels of the network's input.
        threshold: area under which an object is small.
        regression: `share_sums` of the regression loss, [2], where they are known already.

    Differs from the authors' code: their classification share divides the sum over small positives by the mean over all
    sampled RoIs and comes out hundreds of times too large. Here it divides by the sum over positives
    ("classification_loss") or over all sampled ("classification_loss_all"); the paper does not say which. The joint
    share is described in the paper only.

    Raises:
        ValueError: "classification_loss_all" of a detector that does not keep the loss of its background.
    """
    if feedback == "input_ratio":
        return object_sums(gt_areas, threshold)
    if "classification_loss" in feedback:
        losses = positives.classification
    elif feedback == "joint_loss":
        losses = positives.regression + positives.classification
    elif regression is not None:
        return regression
    else:
        losses = positives.regression
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

    def observe(
        self, positives: PositiveLosses, areas: list[Tensor], last: bool = True, regression: Tensor | None = None
    ) -> None:
        """Take the losses of a micro-batch and the box areas [n] of each image's objects; `regression` as its sums.

        With the `last` micro-batch of an optimiser step the sums over all of them make the decision. As in the authors'
        code, a step with an image that has no object (of any process, where they decide together) makes none. A GPU is
        not waited for: the sums are read when the next step asks.
        """
        if self.options.feedback in ("random", "always", "never"):
            return
        sums = feedback_sums(self.options.feedback, positives, torch.cat(areas), self.small_area, regression)
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
        self._closed: Arriving | None = None

    def add(self, values: Tensor) -> None:
        """Add a micro-batch's values."""
        self._open = values if self._open is None else self._open + values

    def close(self, world: World) -> None:
        """End the step: sum over processes and start the copy to the CPU."""
        self._closed, self._open = Arriving(world.sum(self._open)), None

    def read(self) -> list[float] | None:
        """Return the last step's sums, or None where no step has ended since the last call."""
        closed, self._closed = self._closed, None
        return None if closed is None else closed.tolist()
