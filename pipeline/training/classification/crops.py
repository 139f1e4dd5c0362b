"""Train a classifier on crops of a preset's own objects, a stand-in for ImageNet."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from pipeline import paths
from pipeline.data.crops import training_crops
from pipeline.data.detection_set import DetectionSet
from pipeline.data.labelled import transforms
from pipeline.data.manifest import load_split
from pipeline.data.samplers import BatchStream
from pipeline.data.transforms import generator
from pipeline.models import build_classifier
from pipeline.models.batching import MEAN, STD
from pipeline.spec import Spec
from pipeline.training.checkpoint import Trained, checkpoint_folder, finished
from pipeline.training.classification.data import image_sizes
from pipeline.training.classification.evaluation import Errors, batch_errors, by_resolution
from pipeline.training.classification.run import COLUMNS, ClassifierStep, preset_schedule, start_from_init
from pipeline.training.distributed import ALONE
from pipeline.training.history import History
from pipeline.training.loop import train
from pipeline.training.precision import choose_precision, pick_device

MIN_BATCH = 12
SIDES = (0.75, 1.0, 1.5)  # of training batches, relative to the images' side
HELD_OUT = 0.1  # share of the images on which the error is measured


def train_on_crops(spec: Spec) -> Trained:
    """Train on single-object images of the preset, a stand-in for ImageNet."""
    preset, training = spec.preset, spec.preset.training
    folder = checkpoint_folder(spec, "pretrain", paths.manifest(preset.name))
    done = finished(folder)
    if done is not None:
        return done
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

    def fetch(number: int) -> tuple[Tensor, Tensor, list[int]]:
        rows = torch.tensor(stream.batch(number))
        x = augment(images[rows], generator(spec.seed, 1, number))
        rows = rows[: len(x)]
        return x, labels[rows], rows.tolist()

    spec, rate = preset_schedule(spec, batch * accumulate)
    step_loss = ClassifierStep(model, fetch, normalise, device, accumulate, ALONE)
    facts = train(spec, model, step_loss, steps, folder, history, precision, device, rate=rate)

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
    return Trained(tensors, {}, history.csv(), summary, folder)


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
