"""Pre-train a backbone as an image classifier and write it as an init."""

from __future__ import annotations

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from pipeline import paths
from pipeline.config import Spec
from pipeline.data.crops import training_crops
from pipeline.data.detection_set import DetectionSet
from pipeline.data.manifest import load_split
from pipeline.data.samplers import BatchStream
from pipeline.data.transforms import generator
from pipeline.files import write_json, write_text
from pipeline.models import build_classifier
from pipeline.models.batching import MEAN, STD
from pipeline.training.checkpoint import Checkpoints, save_weights
from pipeline.training.detection import run_digest
from pipeline.training.history import History
from pipeline.training.loop import train
from pipeline.training.precision import autocast, choose_precision, pick_device, set_threads

MIN_BATCH = 12
SIDES = (0.75, 1.0, 1.5)  # of training batches, relative to the images' side
HELD_OUT = 0.1  # share of the images on which the error is measured


def pretrain(spec: Spec) -> None:
    """Write an init and what is known of it: trained here, or torchvision's published weights."""
    if spec.preset.init_source == "torchvision" and spec.experiment.method.psconv is None:
        write_published(spec)
    else:
        train_classifier(spec)


def write_published(spec: Spec) -> None:
    """Write torchvision's ImageNet weights under the names of this project's detectors."""
    from torchvision.models import get_model_weights

    published = get_model_weights(spec.experiment.backbone).IMAGENET1K_V1
    state = published.get_state_dict(progress=True, check_hash=True, weights_only=True)
    tensors = {f"backbone.body.{name}": value for name, value in state.items() if not name.startswith("fc.")}
    save_weights(paths.init(spec.preset.name, spec.name), tensors)
    write_text(paths.history(spec.preset.name, spec.name), "step,loss,lr,top1\n")
    write_json(
        paths.training_summary(spec.preset.name, spec.name),
        {"experiment": spec.name, "steps": 0, "source": "torchvision IMAGENET1K_V1"},
    )


def train_classifier(spec: Spec) -> None:
    """Train on single-object images of the preset and write backbone, history and summary."""
    preset, training = spec.preset, spec.preset.training
    set_threads(preset)
    device = pick_device()
    data = None
    if preset.data.kind != "scaleworld":
        data = DetectionSet(load_split(paths.manifest(preset.name), "train"), preset.data.limit_train)
    images, labels = training_crops(preset, data)
    held = int(len(images) * HELD_OUT)
    images, labels, test_images, test_labels = images[held:], labels[held:], images[:held], labels[:held]
    torch.manual_seed(spec.seed)
    classes = int(max(labels.max(), test_labels.max() if held else 0)) + 1
    model = build_classifier(spec, classes)
    silence_residuals(model)
    model = model.to(device, memory_format=torch.channels_last)
    batch = training.pretrain_batch or spec.recipe.batch
    steps = training.pretrain_steps or round(spec.recipe.epochs * len(images) / batch)
    stream = BatchStream([0] * len(images), batch, spec.seed)
    history = History(steps, training.log_rows, ("step", "loss", "lr", "top1"))
    precision = choose_precision(preset, device)
    folder = paths.scratch(spec.name, run_digest(spec, precision, "pretrain", paths.manifest(preset.name)))

    def step_loss(step: int) -> tuple[dict[str, Tensor], dict[str, float | None]]:
        rows = torch.tensor(stream.batch(step))
        x = augment(images[rows], generator(spec.seed, 1, step)).to(device)
        target = labels[rows][: len(x)].to(device)
        logits = model(normalise(x))
        return {"loss": F.cross_entropy(logits, target)}, {
            "top1": (logits.argmax(dim=1) == target).float().mean().item()
        }

    if training.pretrain_milestones is not None:
        recipe = msgspec.structs.replace(spec.recipe, milestones=training.pretrain_milestones)
        spec = msgspec.structs.replace(spec, recipe=recipe)
    lr = training.pretrain_lr or spec.recipe.lr * batch / spec.recipe.batch
    train(spec, model, step_loss, steps, folder, history, precision, device, lr=lr)
    top1, top5 = errors(model, test_images, test_labels, precision, device)
    tensors = {f"backbone.{name}": value for name, value in model.state_dict().items() if not name.startswith("fc.")}
    save_weights(paths.init(preset.name, spec.name), tensors)
    write_text(paths.history(preset.name, spec.name), history.csv())
    write_json(
        paths.training_summary(preset.name, spec.name),
        {
            "experiment": spec.name,
            "steps": steps,
            "images": len(images),
            "classes": classes,
            "loss_last": round(history.rows[-1]["loss"], 6),
            "top1_error": top1,
            "top5_error": top5,
            "precision": precision,
        },
    )
    Checkpoints(folder).remove()


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
    """Mirror half of the uint8 images [N, 3, S, S] and resize the batch, large sizes with fewer images.

    Differs from the paper: no random-resized crops, because these images show one object each at many scales; the
    sizes of a batch stand for the wider range of scales that a detector meets.
    """
    mirrored = torch.rand(len(x), generator=random) < 0.5
    x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
    ratio = SIDES[int(torch.randint(len(SIDES), (1,), generator=random))]
    if ratio == 1:
        return x
    side = round(x.shape[-1] * ratio)
    x = x[: max(MIN_BATCH, int(len(x) / ratio**2))] if ratio > 1 else x  # about the same pixels in every batch
    return F.interpolate(x.float(), size=(side, side), mode="bilinear", antialias=ratio < 1)


@torch.inference_mode()
def errors(
    model: nn.Module, images: Tensor, labels: Tensor, precision: str, device: torch.device
) -> tuple[float | None, float | None]:
    """Return top-1 and top-5 error (0-1) on held-out images, None where there are none."""
    if not len(images):
        return None, None
    model.eval()
    first = fifth = 0
    for start in range(0, len(images), 64):
        with autocast(precision, device):
            logits = model(normalise(images[start : start + 64].to(device))).cpu()
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[start : start + 64, None]
        first += int(ranked[:, 0].sum())
        fifth += int(ranked.any(dim=1).sum())
    return round(1 - first / len(images), 6), round(1 - fifth / len(images), 6)
