"""What every training of a classifier shares: its result, its schedule under a preset, the init it starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from torch import Tensor, nn

from pipeline import paths
from pipeline.config import Spec
from pipeline.errors import InputError
from pipeline.training.checkpoint import load_weights

COLUMNS = ("step", "loss", "lr", "top1")


class Trained(NamedTuple):
    """One finished training, before anything is written."""

    tensors: dict[str, Tensor]
    history: str
    summary: dict[str, Any]
    scratch: Path


def preset_schedule(spec: Spec, batch: int) -> tuple[Spec, float]:
    """Return the specification with the preset's milestones, and the learning rate for its batch."""
    training = spec.preset.training
    if training.pretrain_milestones is not None:
        recipe = msgspec.structs.replace(spec.recipe, milestones=training.pretrain_milestones)
        spec = msgspec.structs.replace(spec, recipe=recipe)
    return spec, training.pretrain_lr or spec.recipe.lr * batch / spec.recipe.batch


def start_from_init(spec: Spec, model: nn.Module) -> dict[str, int]:
    """Load the init of a fine-tuned classifier (SNIP's CNN-B-FT), and return how many tensors matched."""
    if spec.experiment.init == "none":
        return {}
    stored, _ = load_weights(paths.init(spec.preset.name, spec.experiment.init))
    tensors = {name.removeprefix("backbone.").removeprefix("classifier."): value for name, value in stored.items()}
    own = model.state_dict()
    found = {
        name: tensors[name] for name, value in own.items() if name in tensors and tensors[name].shape == value.shape
    }
    if not found:
        raise InputError(f"No tensor of init {spec.experiment.init} fits {spec.name}; name an init of its backbone.")
    model.load_state_dict(found, strict=False)
    return {"init_matched": len(found), "init_unmatched": len(set(own) - set(found))}
