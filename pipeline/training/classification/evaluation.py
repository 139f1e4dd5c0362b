"""Top-1 and top-5 errors of a classifier, after every epoch and at every test resolution."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.evaluation.intervals import t_quantile
from pipeline.training.distributed import World
from pipeline.training.precision import autocast

Errors = tuple[float | None, float | None]


def count_errors(logits: Tensor, labels: Tensor) -> tuple[int, int]:
    """Return the numbers of top-1 and of top-5 errors of logits [N, C] against labels [N]."""
    ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    return len(labels) - int(ranked[:, 0].sum()), len(labels) - int(ranked.any(dim=1).sum())


@torch.inference_mode()
def batch_errors(
    model: nn.Module,
    batches: Any,
    prepare: Callable[[Tensor], Tensor],
    precision: str,
    device: torch.device,
    world: World,
) -> Errors:
    """Return top-1 and top-5 error (0-1) over the batches of all processes; both are None without images.

    The model is left in evaluation mode.
    """
    model.eval()
    first = fifth = count = 0
    for images, labels in batches:
        with autocast(precision, device):
            logits = model(prepare(images.to(device, non_blocking=True))).cpu()
        missed = count_errors(logits, labels)
        first, fifth, count = first + missed[0], fifth + missed[1], count + len(labels)
    sums = world.means({"first": float(first), "fifth": float(fifth), "count": float(count)}, device)
    if not sums["count"]:
        return None, None
    return round(sums["first"] / sums["count"], 6), round(sums["fifth"] / sums["count"], 6)


class EpochErrors:
    """Validation errors after every epoch and, with `keep_best`, the best epoch's weights; part of the checkpoint.

    Args:
        evaluate: returns top-1 and top-5 error of the model as it is.
        model: is put back into training mode, and copied where `keep_best`.
        images: of the training split; an epoch ends after so many.
        batch: images of one step in all processes.
        steps: of the training; the last step ends an epoch, too.
    """

    alike = True  # the state is the same in all processes

    def __init__(
        self, evaluate: Callable[[], Errors], model: nn.Module, images: int, batch: int, steps: int, keep_best: bool
    ) -> None:
        self.evaluate, self.model, self.keep_best = evaluate, model, keep_best
        self.images, self.batch, self.steps = images, batch, steps
        self.epochs: list[dict[str, float]] = []
        self.best_state: dict[str, Tensor] = {}

    def ends_epoch(self, step: int) -> bool:
        """Return whether step number `step` (from 1) completes an epoch or the training."""
        return step == self.steps or step * self.batch // self.images > (step - 1) * self.batch // self.images

    def __call__(self, step: int) -> dict[str, float]:
        """Evaluate if an epoch ends, and return the values to log."""
        if not self.ends_epoch(step):
            return {}
        top1, top5 = self.evaluate()
        self.model.train()
        if self.keep_best and (not self.epochs or top1 < self.best["top1_error"]):
            self.best_state = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
        epoch = round(step * self.batch / self.images, 3)
        self.epochs.append({"epoch": epoch, "top1_error": top1, "top5_error": top5})
        return {"val_top1_error": top1, "val_top5_error": top5}

    @property
    def best(self) -> dict[str, float]:
        """The first epoch with the lowest top-1 error."""
        return min(self.epochs, key=lambda row: row["top1_error"])

    @property
    def last(self) -> dict[str, float]:
        return self.epochs[-1]

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs, "best_state": self.best_state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs, self.best_state = list(state["epochs"]), dict(state["best_state"])


def by_resolution(measure: Callable[[int | None], Errors], sides: Mapping[str, int]) -> dict[str, Any]:
    """Return under "resolutions" the errors on images reduced to each side first, or nothing without sides."""
    found = {name: dict(zip(("top1_error", "top5_error"), measure(low), strict=True)) for name, low in sides.items()}
    return {"resolutions": found} if found else {}


def over_seeds(values: Sequence[float]) -> dict[str, float | None]:
    """Return the mean and sample standard deviation over trainings that differ in their seed only."""
    deviation = round(statistics.stdev(values), 6) if len(values) > 1 else None
    return {"mean": round(statistics.fmean(values), 6), "sd": deviation}


def welch_interval(base: Sequence[float], other: Sequence[float], level: float = 0.95) -> dict[str, float | None]:
    """Return the difference of means, `other - base`, with Welch's interval for unequal variances.

    Degrees of freedom are Welch and Satterthwaite's, rounded down so that the interval is rather too wide. No interval
    exists where either has fewer than two values.
    """
    difference = statistics.fmean(other) - statistics.fmean(base)
    if min(len(base), len(other)) < 2:
        return {"difference": difference, "low": None, "high": None, "dof": None}
    parts = [statistics.variance(values) / len(values) for values in (base, other)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return {"difference": difference, "low": difference, "high": difference, "dof": None}
    spread = sum(part**2 / (len(values) - 1) for part, values in zip(parts, (base, other), strict=True))
    dof = max(1, math.floor(sum(parts) ** 2 / spread))
    half = t_quantile((1 + level) / 2, dof) * error
    return {"difference": difference, "low": difference - half, "high": difference + half, "dof": dof}
