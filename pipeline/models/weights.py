"""ImageNet weights from torchvision's or timm's own loaders, for plain and modified backbones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.layers import DecomposedConv2d

PUBLISHED = {  # backbone -> (library, its name of the weights)
    "resnet50": ("torchvision", "IMAGENET1K_V1"),
    "resnet101": ("torchvision", "IMAGENET1K_V1"),
    "resnext50_32x4d": ("torchvision", "IMAGENET1K_V1"),
    "resnext101_32x8d": ("torchvision", "IMAGENET1K_V1"),
    "resnext101_32x4d": ("timm", "resnext101_32x4d.gluon_in1k"),
    "se_resnet50": ("timm", "seresnet50.ra2_in1k"),
    "dpn92": ("timm", "dpn92.mx_in1k"),
    "dpn98": ("timm", "dpn98.mx_in1k"),
}
CLASSIFIERS = ("fc.", "classifier.")  # their tensors belong to no backbone


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


def published_source(backbone: str) -> str:
    """Return where a backbone's published ImageNet weights come from, for reports.

    Raises:
        InputError: none are published for this backbone.
    """
    if backbone not in PUBLISHED:
        raise InputError(
            f"No ImageNet weights are published for backbone {backbone!r}, only for {sorted(PUBLISHED)}; pre-train it "
            "(`init_source: pretrain` in the preset)."
        )
    return " ".join(PUBLISHED[backbone])


def published_state(backbone: str) -> dict[str, Tensor]:
    """Return a backbone's published ImageNet weights under this project's names, without their classifier.

    Both libraries verify their downloads and load tensors only.

    Raises:
        InputError: no weights are published for this backbone, or they could not be fetched.
    """
    source = published_source(backbone)
    library, name = PUBLISHED[backbone]
    try:
        state = torchvision_state(backbone, name) if library == "torchvision" else timm_state(name)
    except (OSError, RuntimeError) as error:  # no network, a broken download
        reason = " ".join(str(error).split())
        raise InputError(
            f"The weights of {source} for {backbone} could not be fetched ({reason}); connect, or put them into the "
            "library's cache."
        ) from error
    return {key: tensor for key, tensor in state.items() if not key.startswith(CLASSIFIERS)}


def torchvision_state(backbone: str, name: str) -> dict[str, Tensor]:
    """Fetch one of torchvision's classifiers."""
    from torchvision.models import get_model_weights

    return get_model_weights(backbone)[name].get_state_dict(progress=True, check_hash=True, weights_only=True)


def timm_state(name: str) -> dict[str, Tensor]:
    """Fetch one of timm's classifiers; timm reads safetensors, or other files as tensors only."""
    import timm

    return timm.create_model(name, pretrained=True).state_dict()


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
        if isinstance(layer, DecomposedConv2d) and weight is not None and fits(layer, weight):
            layer.transfer_(weight)
            transferred += [f"{name}.convs.{index}.weight" for index in range(len(layer.convs))]
            sources.append(f"{name}.weight")
    return Matched(
        tuple(found),
        tuple(transferred),
        tuple(sorted(set(own) - set(found) - set(transferred))),
        tuple(sorted(set(state) - set(found) - set(sources))),
    )


def fits(layer: DecomposedConv2d, weight: Tensor) -> bool:
    """Return whether a plain 3x3 weight has the shape that a decomposed layer requires."""
    return list(weight.shape) == [layer.out_channels, layer.in_channels // layer.groups, 3, 3]
