"""The state of a training between two steps, which a checkpoint holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from tqdm import tqdm

from pipeline.errors import reading
from pipeline.files import DiskFullError
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.distributed import World
from pipeline.training.history import History

if TYPE_CHECKING:
    from pipeline.training.averaging import WeightAverage


class TrainingState(NamedTuple):
    """Everything that the rest of a training depends on."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    history: History
    feeder: Any
    average: WeightAverage | None
    world: World

    @property
    def alike(self) -> bool:
        """Whether the feeders of all processes have the same state, so that one is kept for all."""
        return getattr(self.feeder, "alike", False)

    def save(self, checkpoints: Checkpoints, step: int, failed: int) -> int:
        """Write a checkpoint; return 0, or 1 where the disk is full and the previous checkpoint is kept.

        All processes call it, because each has its own feeder; the first one writes.
        """
        own = self.feeder.state_dict() if self.feeder else {}
        feeders = [own] if self.alike else self.world.gathered(own)
        if not self.world.main:
            return 0
        state = {
            "step": step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history.state_dict(),
            "average": self.average.state_dict() if self.average else {},
            "feeders": feeders,
            "failed": failed,
        }
        try:
            checkpoints.save(state)
        except DiskFullError as error:
            tqdm.write(
                f"No checkpoint after step {step}: {error} The training goes on, and a kill costs the steps since the "
                "checkpoint before.",
                file=sys.stderr,
            )
            return 1
        return 0

    def restore(self, checkpoints: Checkpoints) -> tuple[int, int]:
        """Load the newest checkpoint, if there is one; return the step to go on from and the checkpoints that failed.

        Another number of processes may have written it, or another number format. Where feeders differ by process (DST
        whose processes decide alone) and their number changed, all go on from the first one's state.
        """
        state = checkpoints.load()
        if state is None:
            return 0, 0
        with reading(
            checkpoints.folder, "delete this folder of checkpoints, and the training starts from its beginning"
        ):
            return self.take(state, checkpoints.folder)

    def take(self, state: dict[str, Any], folder: Path) -> tuple[int, int]:
        """Go on from a checkpoint's state. Returns as `restore`; raises many kinds of error for another structure."""
        feeders = state["feeders"]
        if len(feeders) != self.world.size:
            if any(feeders) and not self.alike and self.world.main:
                print(
                    f"The checkpoint in {folder} is of {len(feeders)} processes, and there are "
                    f"{self.world.size}: all go on from what the first one was to be fed.",
                    file=sys.stderr,
                )
            feeders = feeders[:1] * self.world.size
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"] and self.scaler.is_enabled():  # only fp16 scales, and the number format may have changed
            self.scaler.load_state_dict(state["scaler"])
        self.history.load_state_dict(state["history"])
        if self.average:
            self.average.load_state_dict(state["average"])
        if self.feeder:
            self.feeder.load_state_dict(feeders[self.world.rank] if any(feeders) else {})
        return int(state["step"]), int(state["failed"])
