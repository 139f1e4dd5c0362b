"""Train a classifier on labelled images by its paper's recipe: ImageNet, CIFAR-100 or any folder."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pipeline.data.labelled import transforms
from pipeline.models import build_classifier
from pipeline.spec import Spec
from pipeline.training.checkpoint import Trained, checkpoint_folder, finished
from pipeline.training.classification.data import Labelled, TestBatches, TrainingBatches, image_sizes
from pipeline.training.classification.evaluation import EpochErrors, Errors, batch_errors, by_resolution
from pipeline.training.classification.run import COLUMNS, ClassifierStep, preset_schedule, start_from_init
from pipeline.training.distributed import World
from pipeline.training.history import History
from pipeline.training.loading import prefetched
from pipeline.training.loop import train
from pipeline.training.precision import choose_precision, pick_device


def train_on_labelled(spec: Spec, data: Labelled, test: Labelled, world: World) -> Trained:
    """Train by the paper's recipe on labelled images, and measure errors after every epoch."""
    preset, training, recipe = spec.preset, spec.preset.training, spec.recipe
    folder = checkpoint_folder(spec, "pretrain", also=f"{data.digest}/{test.digest}")
    done = finished(folder)
    if done is not None:
        return done
    device = pick_device()
    torch.manual_seed(spec.seed)
    model = build_classifier(spec, len(data.classes))
    matched = start_from_init(spec, model)
    if recipe.norm == "sync" and world.size > 1 and device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model = model.to(device, memory_format=torch.channels_last)
    wrapped = world.wrap(model)
    batch, accumulate = training.pretrain_batch or recipe.batch, training.accumulate
    seen = batch * accumulate  # images of one optimiser step
    steps = training.pretrain_steps or max(1, round(recipe.epochs * spec.experiment.length * len(data) / seen))
    sizes, options = image_sizes(spec), recipe.labelled
    precision = world.agreed(choose_precision(preset, device))

    def prepare(images: Tensor) -> Tensor:
        return transforms.standardise(images, options.mean, options.std)

    def measure(low: int | None) -> Errors:
        world.share_buffers(model)
        chosen = TestBatches(test, sizes, low, world)
        loaded = prefetched(chosen, range(len(chosen)))
        return batch_errors(model, loaded, prepare, precision, device, world)

    keep_best = options.keep == "best"
    tracker = EpochErrors(lambda: measure(sizes.reduced), model, len(data), seen, steps, keep_best)
    source = TrainingBatches(data, spec, batch, steps * accumulate, world)
    feed: Iterator[tuple[Tensor, Tensor, list[int]]] | None = None

    def fetch(number: int) -> tuple[Tensor, Tensor, list[int]]:
        nonlocal feed
        feed = feed or prefetched(source, range(number, steps * accumulate))
        return next(feed)

    spec, rate = preset_schedule(spec, seen)
    history = History(steps, training.log_rows, (*COLUMNS, "val_top1_error", "val_top5_error"))
    step_loss = ClassifierStep(wrapped, fetch, prepare, device, accumulate, world)
    facts = train(spec, model, step_loss, steps, folder, history, precision, device, tracker, rate, world, tracker)
    if keep_best:
        model.load_state_dict(tracker.best_state)
    chosen = tracker.best if keep_best else tracker.last
    tensors = {
        ("classifier." if name.startswith("fc.") else "backbone.") + name: value
        for name, value in model.state_dict().items()
    }
    summary = {
        "experiment": spec.name,
        "steps": steps,
        "images": len(data),
        "val_images": len(test),
        "classes": len(data.classes),
        "left_out": {"train": len(data.left_out), "val": len(test.left_out)},
        "input": sizes.side,
        "loss_last": round(history.rows[-1]["loss"], 6),
        "train_top1_error_last": round(1 - history.rows[-1]["top1"], 6),
        "top1_error": chosen["top1_error"],
        "top5_error": chosen["top5_error"],
        "weights": options.keep,
        "top1_error_last": tracker.last["top1_error"],
        "top5_error_last": tracker.last["top5_error"],
        "top1_error_best": tracker.best["top1_error"],
        "top5_error_best": tracker.best["top5_error"],
        "best_epoch": tracker.best["epoch"],
        "epochs": tracker.epochs,
        "precision": precision,
        "processes": world.size,
        **facts,
        **matched,
        **by_resolution(measure, sizes.tests),
    }
    return Trained(tensors, {}, history.csv(), summary, folder)
