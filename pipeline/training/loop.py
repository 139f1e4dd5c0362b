"""The training loop: feed, loss, step, log, checkpoint. A killed run continues to the same weights."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipeline import paths
from pipeline.data.transforms import generator
from pipeline.devices import described
from pipeline.machine import loader_workers, machine
from pipeline.parts import load, optimizer
from pipeline.spec import Rate, Spec
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.distributed import ALONE, World
from pipeline.training.history import History
from pipeline.training.interruption import Stopped, catch_sigterm, explained_deaths, stop_at_loss
from pipeline.training.precision import autocast
from pipeline.training.schedule import learning_rate
from pipeline.training.state import TrainingState
from pipeline.training.step_log import StepLog
from pipeline.training.step_values import Batch, mean, read, waited
from pipeline.training.tracking import Tracker

CHECKPOINT_SECONDS = 600.0  # at most this long after the last checkpoint the next one follows: a kill costs no more

# Maps a batch's number to its losses and logged quantities; those that are tensors are read without waiting.
StepLoss = Callable[[int], tuple[dict[str, Tensor], dict[str, float | Tensor | None]]]


def parameter_groups(model: nn.Module, weight_decay: float, decay_all: bool = False) -> list[dict[str, Any]]:
    """Return trainable parameters in two groups: weights, which decay, and biases and norms, which do not.

    With `decay_all`, all parameters decay, as in the classifiers' official recipes.
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
    rate: Rate | None = None,
    world: World = ALONE,
    after_step: Callable[[int], dict[str, float]] | None = None,
) -> dict[str, Any]:
    """Train a model in place; where the preset averages weights, it ends with the average.

    Args:
        spec: the resolved experiment.
        step_loss: returns the named losses of a batch and the quantities to log; runs under autocast. Step s asks for
            the batches s * accumulate + i, and their losses are divided by `accumulate`. An attribute `info` has the
            batch's `image_ids` and `file_names`, and the seconds that it `waited` for data.
        steps: optimiser steps.
        folder: of the checkpoints while the training runs.
        history: gets one entry per step.
        precision: "fp32", "bf16" or "fp16"; weights and optimiser stay in fp32.
        feeder: its `state_dict` is part of the checkpoint; may be None.
        rate: base learning rate; default: the specification's.
        world: the processes that train together; the first one writes checkpoints and shows progress.
        after_step: is called with the number of finished steps and returns more to log (an evaluation after an epoch).

    Returns:
        Facts for the training's summary: how the learning rate was determined, and what went wrong.

    Raises:
        InputError: a loss is not finite (the sentence names step and losses), or a data-loading worker died.
        Stopped: the process was asked to end (SIGTERM); exit code 143.
    """
    training, recipe, accumulate = spec.preset.training, spec.recipe, spec.preset.training.accumulate
    rate = rate or spec.rate
    announce(spec, rate, world, precision, device)
    warmup = training.warmup_steps if training.warmup_steps is not None else recipe.warmup_iterations
    warmup = min(warmup, steps // 2) if recipe.warmup_iterations else 0
    if training.warmup_steps is not None:  # which stands in for the recipe's together with optimiser and rate
        recipe = msgspec.structs.replace(recipe, warmup="linear")
    clip = training.gradient_clip or recipe.gradient_clip
    optimizer = build_optimizer(spec, model, rate.lr)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    state = TrainingState(
        model,
        optimizer,
        scaler,
        history,
        feeder,
        None if training.ema is None else load("averaging").WeightAverage(model, training.ema),
        world,
    )
    checkpoints = Checkpoints(folder)
    start, failed = state.restore(checkpoints)
    every, saved = max(1, steps // training.checkpoint_rows), time.monotonic()
    lines = None
    if world.main:
        published = paths.training_log(spec.preset.name, spec.run)
        tracking = machine().tracking
        tracker = Tracker(tracking, spec, folder, published) if tracking else None
        lines = StepLog(folder, published, start, history, machine().tensorboard, tracker)
    own = (world.rank,) if world.rank else ()  # every process draws its own numbers for its own images
    model.train()
    with (
        catch_sigterm() as stop,
        explained_deaths(spec, stop, world.size),
        tqdm(
            total=steps,
            initial=start,
            desc=spec.run,
            file=sys.stderr,
            mininterval=2.0,
            disable=not world.main,
        ) as bar,
    ):
        for step in range(start, steps):
            # Every step has its own seed, so no random state has to survive a kill.
            seed_with(generator(spec.seed, 0, step, *own).initial_seed(), device)
            lr = learning_rate(step, steps, rate.lr, recipe, warmup)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad(set_to_none=True)
            scale = scaler.get_scale()
            batches = []
            for batch in range(step * accumulate, (step + 1) * accumulate):
                with autocast(precision, device):
                    losses, logged = step_loss(batch)
                loss = sum(value.float() for value in losses.values())
                scaler.scale(loss if accumulate == 1 else loss / accumulate).backward()
                batches.append(Batch(loss, losses, logged, dict(getattr(step_loss, "info", None) or {})))
            # Read once, while the backward pass runs: read earlier, the GPU would have to wait for the CPU.
            values = read(batches)
            total = sum(row["loss"] for row, _ in values) / accumulate
            mine = {"loss": total, **mean([row for row, _ in values]), **mean([row for _, row in values])}
            late = time.monotonic() - saved >= CHECKPOINT_SECONDS
            events = {"stopping": stop.requested, "lost": not math.isfinite(total), "late": late}
            seen = world.means({**mine, **events}, device)
            stopping, lost, late = (seen.pop(name) for name in events)
            if lost:
                path = folder / ("nonfinite.json" if world.main else f"nonfinite_{world.rank}.json")
                found = [(row, batch.info) for (row, _), batch in zip(values, batches, strict=True)]
                stop_at_loss(spec, step, lr, found, path)
            if clip:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_((p for g in optimizer.param_groups for p in g["params"]), clip)
            scaler.step(optimizer)
            scaler.update()
            if scaler.is_enabled():
                seen["skipped"] = float(scaler.get_scale() < scale)  # a gradient was not finite: the step was skipped
            if state.average is not None:
                state.average.update(model)
            if after_step is not None:
                with state.average.applied(model) if state.average else nullcontext():
                    seen = {**seen, **after_step(step + 1)}
            entry = {"step": step + 1, "lr": lr, **seen}
            history.add(entry)
            if lines is not None:
                speed = lines.add(entry, waited(batches))
                bar.set_postfix_str(f"loss {seen['loss']:.3f}, lr {lr:.3g}, {speed:.3g} images/s", refresh=False)
            bar.update()
            if (step + 1) % every == 0 or stopping or late:
                failed += state.save(checkpoints, step + 1, failed)
                saved = time.monotonic()
            if stopping:
                message = f"{spec.run}: stopped after step {step + 1} of {steps}; the next start goes on from it."
                if world.main:
                    tqdm.write(message, file=sys.stderr)
                world.wait()  # torchrun ends all with the first that ends, and one may still be writing
                raise Stopped(message)
    history.flush()
    if state.average is not None:
        model.load_state_dict(state.average.average)
    if lines is not None:
        lines.publish()
    return facts(spec, rate, history, failed)


def seed_with(seed: int, device: torch.device) -> None:
    """Seed the random numbers of the CPU and this GPU, as `torch.manual_seed` does.

    Without a GPU, that function formats a traceback in every call, which takes a millisecond of a small network's step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def announce(spec: Spec, rate: Rate, world: World, precision: str, device: torch.device) -> None:
    """Say on stderr what trains, and how the learning rate was determined where it is not the recipe's own."""
    if not world.main:
        return
    processes = f"{world.size} process{'es' * (world.size > 1)}"
    print(
        f"{spec.run}: on {described(device)}, {precision}, {processes}, data-loading workers of each: "
        f"{loader_workers()}.",
        file=sys.stderr,
    )
    if rate.rule == "recipe":
        return
    recipe, preset = spec.experiment.recipe, spec.preset.name
    if rate.rule == "linear":
        how = f"{rate.recipe_lr:g} of recipe {recipe} x {rate.batch} / {rate.recipe_batch} images a step (linear rule)"
    else:
        how = (
            f"set by preset {preset} for {rate.batch} images a step; recipe {recipe} has {rate.recipe_lr:g} for "
            f"{rate.recipe_batch}"
        )
    print(f"{spec.run}: learning rate {rate.lr:g}, {how}.", file=sys.stderr)


def facts(spec: Spec, rate: Rate, history: History, failed: int) -> dict[str, Any]:
    """Return the summary's facts about the loop, without what was not used or did not happen."""
    training, found = spec.preset.training, rate.facts()
    if training.accumulate > 1:
        found["accumulate"] = training.accumulate
    if training.ema is not None:
        found["ema"] = training.ema
    if "skipped" in history.counts:
        found["skipped_steps"] = int(history.sums["skipped"])
    if failed:
        found["checkpoints_failed"] = failed
    return found


def build_optimizer(spec: Spec, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Return the recipe's optimiser, or the preset's substitute for trainings that are too short for SGD."""
    groups = parameter_groups(model, spec.recipe.weight_decay, spec.recipe.decay_all)
    return import_module(optimizer(spec.optimizer)).build(groups, lr, spec.recipe)
