"""The training loop: feed, loss, step, log, checkpoint; a killed run continues to the same weights."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipeline.config import Spec
from pipeline.data.transforms import generator
from pipeline.errors import InputError
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.distributed import ALONE, World
from pipeline.training.history import History
from pipeline.training.precision import autocast
from pipeline.training.schedule import learning_rate

StepLoss = Callable[[int], tuple[dict[str, Tensor], dict[str, float | None]]]


class Stopped(SystemExit):
    """SIGTERM came: the state is saved, the next start of the same training goes on from it."""


def parameter_groups(model: nn.Module, weight_decay: float, decay_all: bool = False) -> list[dict[str, Any]]:
    """Return trainable parameters in two groups: weights, and biases and norms, which do not decay.

    With `decay_all` everything decays, as in the classifiers' official recipes.
    """
    decayed, plain = [], []
    for parameter in model.parameters():
        if parameter.requires_grad:
            (plain if parameter.ndim == 1 and not decay_all else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def train(
    spec: Spec,
    model: nn.Module,
    step_loss: StepLoss,
    steps: int,
    folder: Path,
    history: History,
    precision: str,
    device: torch.device,
    feeder: Any = None,
    lr: float | None = None,
    world: World = ALONE,
    after_step: Callable[[int], dict[str, float]] | None = None,
) -> None:
    """Train a model in place.

    Args:
        spec: the resolved experiment.
        step_loss: computes the named losses of a step and the quantities to log; runs under autocast.
        steps: optimiser steps.
        folder: where checkpoints live while the training runs.
        history: gets one entry a step.
        precision: "fp32", "bf16" or "fp16"; weights and optimiser stay in fp32.
        feeder: has a `state_dict` that belongs to the checkpoint, or is None.
        lr: base learning rate, by default the specification's.
        world: the processes that train together; the first one writes checkpoints and shows progress.
        after_step: is called with the number of steps done and returns more to log (an evaluation, once an epoch).

    Raises:
        InputError: a loss is not finite; the sentence names the step and the losses.
        Stopped: the process was asked to end (SIGTERM).
    """
    training, recipe = spec.preset.training, spec.recipe
    base = spec.lr if lr is None else lr
    warmup = training.warmup_steps if training.warmup_steps is not None else recipe.warmup_iterations
    warmup = min(warmup, steps // 2) if recipe.warmup_iterations else 0
    clip = training.gradient_clip or recipe.gradient_clip
    optimizer = build_optimizer(spec, model, base)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    checkpoints = Checkpoints(folder)
    start = restore(checkpoints, model, optimizer, scaler, history, feeder)
    every = max(1, steps // training.checkpoint_rows)
    model.train()
    with (
        catch_sigterm() as stop,
        tqdm(
            total=steps,
            initial=start,
            desc=spec.name,
            file=sys.stderr,
            mininterval=2.0,
            disable=not world.main,
        ) as bar,
    ):
        for step in range(start, steps):
            # Every step draws from its own seed, so no random state has to survive a kill.
            torch.manual_seed(generator(spec.seed, 0, step).initial_seed())
            rate = learning_rate(step, steps, base, recipe, warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with autocast(precision, device):
                losses, logged = step_loss(step)
            loss = sum(losses.values())
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            # Read once, with the backward under way: a GPU that is asked earlier waits for the processor.
            numbers = torch.stack([loss.detach(), *(value.detach() for value in losses.values())]).tolist()
            total, named = (
                world.means({"loss": numbers[0]}, device)["loss"],
                dict(zip(losses, numbers[1:], strict=True)),
            )
            named = world.means(named, device)
            check_finite(spec, step, named, total)
            if clip:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_((p for g in optimizer.param_groups for p in g["params"]), clip)
            scaler.step(optimizer)
            scaler.update()
            logged = world.means(logged, device)
            if after_step is not None:
                logged = {**logged, **after_step(step + 1)}
            history.add({"step": step + 1, "lr": rate, "loss": total, **named, **logged})
            bar.set_postfix_str(f"loss {total:.3f}", refresh=False)
            bar.update()
            stopping = world.any(stop.requested, device)
            if world.main and ((step + 1) % every == 0 or stopping):
                checkpoints.save(state_of(step + 1, model, optimizer, scaler, history, feeder))
            if stopping:
                raise Stopped(f"{spec.name}: stopped after step {step + 1} of {steps}; the next start goes on from it.")
    history.flush()


def build_optimizer(spec: Spec, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Return the recipe's optimiser, or the preset's stand-in for trainings too short for SGD."""
    recipe = spec.recipe
    groups = parameter_groups(model, recipe.weight_decay, recipe.decay_all)
    if (spec.preset.training.optimizer or recipe.optimizer) == "adamw":
        return torch.optim.AdamW(groups, lr, fused=True)
    return torch.optim.SGD(groups, lr, momentum=recipe.momentum, nesterov=recipe.nesterov)


class StopRequest:
    """Whether SIGTERM has come."""

    requested = False


@contextmanager
def catch_sigterm() -> Iterator[StopRequest]:
    """Let SIGTERM finish the current step instead of ending the process at once (cluster pre-emption)."""
    request = StopRequest()

    def note(signum: int, frame: Any) -> None:
        request.requested = True

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)


def check_finite(spec: Spec, step: int, losses: dict[str, float], total: float) -> None:
    """Raise InputError where the sum of the losses is not finite."""
    if not math.isfinite(total):
        values = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        raise InputError(
            f"{spec.name}: the loss of step {step + 1} is not finite ({values}); lower the learning rate of preset "
            f"{spec.preset.name} or train in fp32."
        )


def state_of(
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    history: History,
    feeder: Any,
) -> dict[str, Any]:
    """Return everything that the rest of a training depends on."""
    return {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "history": history.state_dict(),
        "feeder": feeder.state_dict() if feeder else {},
    }


def restore(
    checkpoints: Checkpoints,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    history: History,
    feeder: Any,
) -> int:
    """Load the newest checkpoint, if there is one, and return the step to go on from."""
    state = checkpoints.load()
    if state is None:
        return 0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    history.load_state_dict(state["history"])
    if feeder:
        feeder.load_state_dict(state["feeder"])
    return state["step"]
