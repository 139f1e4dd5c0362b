"""What every training of a classifier shares: its step, its schedule under a preset, and its init."""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import paths
from pipeline.errors import InputError
from pipeline.spec import Rate, Spec, base_rate
from pipeline.training.checkpoint import load_weights
from pipeline.training.distributed import World

COLUMNS = ("step", "loss", "lr", "top1")


class ClassifierStep:
    """Loss and logged quantities of one batch.

    Args:
        model: the network, wrapped where several processes train it.
        fetch: maps a batch's number to images, labels [n] and the images' row numbers in the training set.
        prepare: makes the network's input from the images on the device.
        accumulate: batches of one optimiser step; in the last one, processes share their gradients.
    """

    def __init__(
        self,
        model: nn.Module,
        fetch: Callable[[int], tuple[Tensor, Tensor, list[int]]],
        prepare: Callable[[Tensor], Tensor],
        device: torch.device,
        accumulate: int,
        world: World,
    ) -> None:
        self.model, self.fetch, self.prepare, self.device = model, fetch, prepare, device
        self.accumulate, self.world = accumulate, world
        self.info: dict[str, Any] = {}

    def __call__(self, batch: int) -> tuple[dict[str, Tensor], dict[str, float | Tensor | None]]:
        """Return the cross-entropy in fp32, and to log: top-1 accuracy and the number of images in all processes."""
        start = time.perf_counter()
        images, labels, rows = self.fetch(batch)
        self.info = {"image_ids": rows, "waited": time.perf_counter() - start}
        images, labels = (value.to(self.device, non_blocking=True) for value in (images, labels))
        if (batch + 1) % self.accumulate:
            with self.world.local(self.model):
                logits = self.model(self.prepare(images))
        else:
            logits = self.model(self.prepare(images))
        right = (logits.detach().argmax(dim=1) == labels).float().mean()
        seen = float(len(labels) * self.world.size)
        return {"loss": F.cross_entropy(logits.float(), labels)}, {"top1": right, "images": seen}


def preset_schedule(spec: Spec, batch: int) -> tuple[Spec, Rate]:
    """Return the specification with the preset's milestones, and the learning rate for `batch` images per step."""
    training = spec.preset.training
    spec = spec.with_milestones(training.pretrain_milestones)
    return spec, base_rate(spec.recipe, batch, training.pretrain_lr)


def start_from_init(spec: Spec, model: nn.Module) -> dict[str, int]:
    """Load the init of a fine-tuned classifier (SNIP's CNN-B-FT), and return the number of matching tensors."""
    if spec.experiment.init == "none":
        return {}
    stored, _ = load_weights(paths.init(spec.preset.name, spec.experiment.init), spec.block)
    tensors = {name.removeprefix("backbone.").removeprefix("classifier."): value for name, value in stored.items()}
    own = model.state_dict()
    found = {
        name: tensors[name] for name, value in own.items() if name in tensors and tensors[name].shape == value.shape
    }
    if not found:
        raise InputError(f"No tensor of init {spec.experiment.init} fits {spec.name}; name an init of its backbone.")
    model.load_state_dict(found, strict=False)
    return {"init_matched": len(found), "init_unmatched": len(set(own) - set(found))}
