"""A training small enough to follow by hand: one linear layer whose batches are numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny
import torch
from torch import Tensor, nn

from pipeline.spec import Spec
from pipeline.training import loop
from pipeline.training.history import History

CPU = torch.device("cpu")


def spec(**training: Any) -> Spec:
    """Return a specification of plain SGD: no momentum, decay, warm-up, clipping or milestones unless given."""
    found = tiny.spec("dst_frcnn_r50_fpn_1x", **{"warmup_steps": 0, "checkpoint_rows": 1, **training})
    return tiny.changed(found, recipe={"momentum": 0.0, "weight_decay": 0.0, "milestones": (), "gradient_clip": None})


def line(weight: float = 1.0) -> nn.Linear:
    """Return y = weight * x."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, weight)
    return model


class Mean:
    """Loss: the network's mean output, so that its gradient is the mean of a batch's numbers."""

    def __init__(self, model: nn.Module, batches: Callable[[int], list[float]]) -> None:
        self.model, self.batches = model, batches
        self.asked: list[int] = []
        self.info: dict[str, Any] = {}

    def __call__(self, number: int) -> tuple[dict[str, Tensor], dict[str, float | None]]:
        x = torch.tensor(self.batches(number))[:, None]
        self.asked.append(number)
        self.info = {"image_ids": [10 * number, 10 * number + 1], "file_names": [f"{number}.png"], "waited": 0.25}
        return {"loss_mean": self.model(x).mean()}, {"images": float(len(x)), "collage": float(number % 2)}


def run(
    found: Spec, step_loss: Callable, model: nn.Module, steps: int, precision: str = "fp32", rows: int = 100
) -> tuple[dict[str, Any], History]:
    """Train below the current folder and return facts and history."""
    history = History(steps, rows)
    facts = loop.train(found, model, step_loss, steps, Path("scratch"), history, precision, CPU)
    return facts, history


class CutError(Exception):
    """Ends a training from within a step."""


def train(
    stop: int | None = None,
    steps: int = 8,
    precision: str = "fp32",
    batches: Callable[[int], list[float]] = lambda number: [1.0 + number],
    **training: Any,
) -> tuple[dict[str, Any], History, float]:
    """Train a line with a checkpoint after every second step, up to a CutError in batch `stop`.

    Returns:
        Facts, history and the weight.
    """
    model = line()
    mean = Mean(model, batches)

    def step_loss(number: int) -> tuple[dict[str, Tensor], dict[str, float | None]]:
        if number == stop:
            raise CutError
        found = mean(number)
        step_loss.info = mean.info
        return found

    found = spec(**{"lr": 0.125, "checkpoint_rows": steps // 2, **training})
    facts, history = run(found, step_loss, model, steps, precision)
    return facts, history, model.weight.item()
