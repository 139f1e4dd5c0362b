"""Weights of a plain backbone, put into plain and modified ones."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Matched(NamedTuple):
    """Tensor names by what became of them when a state was loaded into a backbone."""

    loaded: tuple[str, ...]  # copied unchanged
    transferred: tuple[str, ...]  # cut into the sub-convolutions of a decomposed layer
    initial: tuple[str, ...]  # of the backbone, which keep their initial values
    unused: tuple[str, ...]  # of the state, which fit nowhere

    def report(self) -> dict[str, int | list[str]]:
        """Return counts and the names that did not match, for a training's summary."""
        return {
            "loaded": len(self.loaded),
            "transferred": len(self.transferred),
            "initial": list(self.initial),
            "unused": list(self.unused),
        }

    def __str__(self) -> str:
        text = f"{len(self.loaded)} tensors loaded, {len(self.transferred)} transferred"
        for what, names in (("keep their initial values", self.initial), ("were not used", self.unused)):
            if names:
                text += f"; {len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        return text


@torch.no_grad()
def load_backbone(body: nn.Module, state: dict[str, Tensor]) -> Matched:
    """Copy a plain backbone's tensors into a backbone that may hold the papers' layers.

    PSConv, GSL and deformable layers take the plain weight unchanged; a decomposed layer cuts it into its
    sub-convolutions (centre form). Scale and offset predictors and fusion modules keep their initial values.

    Args:
        body: any backbone of this package.
        state: tensors by their names in the plain backbone; those of another shape are not loaded.
    """
    own = body.state_dict()
    found = {name: state[name] for name, value in own.items() if name in state and state[name].shape == value.shape}
    body.load_state_dict(found, strict=False)
    transferred, sources = [], []
    for name, layer in body.named_modules():
        weight = state.get(f"{name}.weight")
        if weight is not None and hasattr(layer, "transfer_") and fits(layer, weight):
            layer.transfer_(weight)
            transferred += [f"{name}.convs.{index}.weight" for index in range(len(layer.convs))]
            sources.append(f"{name}.weight")
    return Matched(
        tuple(found),
        tuple(transferred),
        tuple(sorted(set(own) - set(found) - set(transferred))),
        tuple(sorted(set(state) - set(found) - set(sources))),
    )


def fits(layer: nn.Module, weight: Tensor) -> bool:
    """Return whether a plain 3x3 weight has the shape that a decomposed layer requires."""
    return list(weight.shape) == [layer.out_channels, layer.in_channels // layer.groups, 3, 3]
