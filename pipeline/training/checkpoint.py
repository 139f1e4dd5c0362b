"""Checkpoints of a running training and weights of a finished one; both are written atomically."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.files import replacing
from pipeline.models.weights import load_backbone


class Checkpoints:
    """Last and last but one state of one training, in a folder keyed by its resolved parameters.

    A truncated file (disk full, power cut) falls back to the one before it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last, self.previous = folder / "last.pt", folder / "previous.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Write a state of tensors, numbers, text, lists and dicts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.last.exists():
            self.last.replace(self.previous)
        with replacing(self.last) as temporary:
            torch.save(state, temporary)

    def load(self) -> dict[str, Any] | None:
        """Return the newest readable state, or None where there is none."""
        for path in (self.last, self.previous):
            if path.exists():
                try:
                    return torch.load(path, map_location="cpu", weights_only=True)
                except Exception as error:  # torch raises many kinds for a truncated archive; all mean the same here
                    print(f"Checkpoint {path} is unreadable ({type(error).__name__}); trying the one before it.")
        return None

    def remove(self) -> None:
        """Delete both states: the training is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)


def save_weights(path: Path, state: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors; text metadata travels in the file's header."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata or {})


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file. Raises InputError where it is missing or broken."""
    if not path.is_file():
        raise InputError(f"Weights {path} do not exist; run the stage that makes them (dvc repro names it).")
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
        return load_file(path), metadata
    except (SafetensorError, OSError) as error:
        raise InputError(f"Weights {path} are broken ({error}); delete the file and run its stage again.") from error


def load_init(model: nn.Module, tensors: dict[str, Tensor]) -> tuple[int, list[str]]:
    """Copy an init into a network where name and shape agree; decomposed layers take a plain weight apart.

    A C4 detector owns conv5_x in its RoI head, so `backbone.body.layer4` also fits `roi_heads.box_head.layer4`.

    Returns:
        How many tensors of the network were set, and the names of those that keep their initial values.
    """
    moved = {
        name.replace("backbone.body.layer4.", "roi_heads.box_head.layer4."): tensor for name, tensor in tensors.items()
    }
    matched = load_backbone(model, {**moved, **tensors})
    return len(matched.loaded) + len(matched.transferred), list(matched.initial)
