"""Pre-train a backbone as an image classifier and write it as an init."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from pipeline import paths
from pipeline.config import Spec, resolve
from pipeline.data.crops import training_crops
from pipeline.data.detection_set import DetectionSet
from pipeline.data.labelled import transforms
from pipeline.data.manifest import load_split
from pipeline.data.samplers import BatchStream
from pipeline.data.transforms import generator
from pipeline.errors import InputError
from pipeline.files import read_json, read_text, write_json, write_text
from pipeline.models import build_classifier
from pipeline.models.batching import MEAN, STD
from pipeline.training.checkpoint import Checkpoints, load_weights, save_weights
from pipeline.training.classification.data import Labelled, image_sizes, labelled_source, read_labelled
from pipeline.training.classification.evaluation import Errors, batch_errors, by_resolution, seeds_summary
from pipeline.training.classification.labelled import train_on_labelled
from pipeline.training.classification.run import COLUMNS, ClassifierStep, Trained, preset_schedule, start_from_init
from pipeline.training.detection import run_digest
from pipeline.training.distributed import ALONE, World, joined
from pipeline.training.history import History
from pipeline.training.loop import train
from pipeline.training.precision import choose_precision, pick_device, set_threads

MIN_BATCH = 12
SIDES = (0.75, 1.0, 1.5)  # of training batches, relative to the images' side
HELD_OUT = 0.1  # share of the images on which the error is measured


def pretrain(spec: Spec) -> None:
    """Write an init and its summary: trained here, published, or taken over from an init of the same network."""
    if is_published(spec):
        write_published(spec)
    elif is_like_another(spec):
        take_over(spec)
    else:
        with joined() as world:
            train_classifier(spec, world)


def is_published(spec: Spec) -> bool:
    """Whether an init consists of published weights, so that nothing is trained."""
    shared = spec.preset.init_source == "torchvision" and spec.paper == "shared"
    return shared and spec.experiment.method.psconv is None


def several_can_train(spec: Spec) -> bool:
    """Whether several processes can make an init together, because it is trained and on labelled images."""
    return is_trained(spec) and labelled_source(spec) is not None


def is_trained(spec: Spec) -> bool:
    """Whether an init is trained, that is neither published nor taken over from another init."""
    return not is_published(spec) and not is_like_another(spec)


def is_like_another(spec: Spec) -> bool:
    """Whether, at the preset's reduced depth, this init's network equals that of the experiment it is `like`."""
    if spec.experiment.like is None:
        return False
    other = msgspec.structs.replace(resolve(spec.experiment.like, spec.preset.name), preset=spec.preset)
    return spec.recipe == other.recipe and tensor_shapes(spec) == tensor_shapes(other)


def tensor_shapes(spec: Spec) -> dict[str, torch.Size]:
    """Return the shape of every tensor of an init's network, without allocating any."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in build_classifier(spec, 1).state_dict().items()}


def take_over(spec: Spec) -> None:
    """Write this init as a copy of the weights, history and summary of the init that it is like."""
    preset, like = spec.preset.name, spec.experiment.like
    save_weights(paths.init(preset, spec.name), *load_weights(paths.init(preset, like)))
    write_text(paths.history(preset, spec.name), read_text(paths.history(preset, like)))
    summary = read_json(paths.training_summary(preset, like))
    write_json(paths.training_summary(preset, spec.name), summary | {"experiment": spec.name, "taken_over_from": like})


def write_published(spec: Spec) -> None:
    """Write published ImageNet weights under the names of this project's detectors."""
    from pipeline.models.weights import published_source, published_state

    backbone = spec.experiment.backbone
    tensors = {f"backbone.body.{name}": value for name, value in published_state(backbone).items()}
    save_weights(paths.init(spec.preset.name, spec.name), tensors)
    write_text(paths.history(spec.preset.name, spec.name), "step,loss,lr,top1\n")
    write_json(
        paths.training_summary(spec.preset.name, spec.name),
        {"experiment": spec.name, "steps": 0, "source": published_source(backbone)},
    )


def train_classifier(spec: Spec, world: World = ALONE) -> None:
    """Train with every seed of the experiment; write the first seed's backbone and history, and a summary of all.

    A preset without labelled images of the experiment's data set trains on crops of its own objects.
    """
    count, limit = spec.experiment.seeds, spec.preset.training.pretrain_seeds
    count = count if limit is None else min(count, limit)
    source = labelled_source(spec)
    data = None if source is None else world.main_first(lambda: read_labelled(source))
    names = [spec.name, *(f"{spec.name}_seed{number}" for number in range(1, count))]
    logs = [paths.training_log(spec.preset.name, name) for name in names]
    trained = [train_once(seeded(spec, number), data, world, log) for number, log in enumerate(logs)]
    if world.main:
        first, name, preset = trained[0], spec.name, spec.preset.name
        save_weights(paths.init(preset, name), first.tensors)
        write_text(paths.history(preset, name), first.history)
        several = {} if count == 1 else {"seeds": seeds_summary([run.summary for run in trained])}
        write_json(paths.training_summary(preset, name), first.summary | several)
        for run in trained:
            Checkpoints(run.scratch).remove()
    world.wait()


def train_once(spec: Spec, data: tuple[Labelled, Labelled] | None, world: World, log: Path | None = None) -> Trained:
    """Train with the specification's seed, and write the log of its steps to `log`."""
    set_threads(spec.preset)
    if data is not None:
        return train_on_labelled(spec, *data, world, log)
    if world.size > 1:
        raise InputError(
            f"{spec.name} trains on crops, which one process does; give preset {spec.preset.name} `labelled` images "
            "to use several."
        )
    return train_on_crops(spec, log)


def seeded(spec: Spec, number: int) -> Spec:
    """Return the specification of an experiment's seed `number`; 0 is the preset's own seed."""
    preset = msgspec.structs.replace(spec.preset, seed=spec.preset.seed + number)
    return msgspec.structs.replace(spec, preset=preset)


def train_on_crops(spec: Spec, log: Path | None = None) -> Trained:
    """Train on single-object images of the preset, a stand-in for ImageNet."""
    preset, training = spec.preset, spec.preset.training
    device = pick_device()
    data = None
    if preset.data.kind != "scaleworld":
        data = DetectionSet(load_split(paths.manifest(preset.name), "train"), preset.data.limit_train)
    images, labels = training_crops(preset, data)
    held = int(len(images) * HELD_OUT)
    images, labels, test_images, test_labels = images[held:], labels[held:], images[:held], labels[:held]
    sizes = image_sizes(spec)
    images = transforms.reduced(images, sizes.reduced, sizes.side)  # CIFAR's networks see smaller images
    torch.manual_seed(spec.seed)
    classes = int(max(labels.max(), test_labels.max() if held else 0)) + 1
    model = build_classifier(spec, classes)
    silence_residuals(model)
    matched = start_from_init(spec, model)
    model = model.to(device, memory_format=torch.channels_last)
    batch, accumulate = training.pretrain_batch or spec.recipe.batch, training.accumulate
    steps = training.pretrain_steps or max(1, round(spec.recipe.epochs * len(images) / (batch * accumulate)))
    stream = BatchStream([0] * len(images), batch, spec.seed)
    history = History(steps, training.log_rows, COLUMNS)
    precision = choose_precision(preset, device)
    folder = paths.scratch(spec.name, run_digest(spec, precision, "pretrain", paths.manifest(preset.name)))

    def fetch(number: int) -> tuple[Tensor, Tensor, list[int]]:
        rows = torch.tensor(stream.batch(number))
        x = augment(images[rows], generator(spec.seed, 1, number))
        rows = rows[: len(x)]
        return x, labels[rows], rows.tolist()

    spec, rate = preset_schedule(spec, batch * accumulate)
    step_loss = ClassifierStep(model, fetch, normalise, device, accumulate, ALONE)
    facts = train(spec, model, step_loss, steps, folder, history, precision, device, rate=rate, log=log)

    def measure(low: int | None) -> Errors:
        if not held:
            return None, None
        small = transforms.reduced(test_images, low, sizes.side)
        return batch_errors(
            model, zip(small.split(64), test_labels.split(64), strict=True), normalise, precision, device, ALONE
        )

    top1, top5 = measure(sizes.reduced)
    tensors = {f"backbone.{name}": value for name, value in model.state_dict().items() if not name.startswith("fc.")}
    summary = {
        "experiment": spec.name,
        "steps": steps,
        "images": len(images),
        "classes": classes,
        "loss_last": round(history.rows[-1]["loss"], 6),
        "top1_error": top1,
        "top5_error": top5,
        "precision": precision,
        **facts,
        **matched,
        **by_resolution(measure, sizes.tests),
    }
    return Trained(tensors, history.csv(), summary, folder)


def silence_residuals(model: nn.Module) -> None:
    """Start every bottleneck as the identity, which short trainings from scratch need (torchvision's option)."""
    for module in model.modules():
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)


def normalise(x: Tensor) -> Tensor:
    """Map uint8 images [N, 3, H, W] to ImageNet-normalised floats, channels last."""
    mean, std = (x.new_tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (MEAN, STD))
    return ((x.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def augment(x: Tensor, random: torch.Generator) -> Tensor:
    """Mirror half of the uint8 images [N, 3, S, S] and resize the batch; larger batches have fewer images.

    Differs from the paper: no random-resized crops, because each of these images shows one object, at many scales. The
    random size of a batch stands for the wider range of scales that a detector sees.
    """
    mirrored = torch.rand(len(x), generator=random) < 0.5
    x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
    ratio = SIDES[int(torch.randint(len(SIDES), (1,), generator=random))]
    if ratio == 1:
        return x
    side = round(x.shape[-1] * ratio)
    x = x[: max(MIN_BATCH, int(len(x) / ratio**2))] if ratio > 1 else x  # about as many pixels in every batch
    return F.interpolate(x.float(), size=(side, side), mode="bilinear", antialias=ratio < 1)
