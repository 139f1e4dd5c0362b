"""Whole networks side by side: a ResNet-50 plain, with PSConv, with global scale learners (GSL) and decomposed (FD)."""

from collections.abc import Iterator

import torch
from torch import nn

from pipeline.benchmarks.cases import Case, forward_call, random_input, train_call
from pipeline.benchmarks.timing.rounds import Call
from pipeline.config import resolve
from pipeline.layers import GlobalScaleConv2d, PSConv2d
from pipeline.models.backbones.build import build_backbone
from pipeline.models.classifier import Classifier
from pipeline.models.measure import printed_scales

# The experiments whose backbones are compared; FD and GSL have the scales that POD prints (table 3).
EXPERIMENTS = {
    "plain": "pod_frcnn_r50_fpn_1x",
    "psconv": "psconv_frcnn_r50_fpn_1x_psconv",
    "fd": "pod_frcnn_r50_fpn_1x_fd",
    "gsl": "pod_frcnn_r50_fpn_1x_gsl",
}
BATCH = {"cpu": 2, "cuda": 64}


class Features(nn.Module):
    """A detector's backbone that returns its last map only."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images [N, 3, H, W] to the last stage's features [N, 2048, H / 32, W / 32]."""
        return list(self.body(images).values())[-1]


def network(name: str, classify: bool = True, preset: str = "full", kernel: bool = False) -> nn.Module:
    """Return one of `EXPERIMENTS` as a classifier of 1,000 classes, or as a detector's backbone.

    PSConv goes without its C++ kernel unless that is asked for.
    """
    spec = resolve(EXPERIMENTS[name], preset)
    scales = printed_scales(resolve(EXPERIMENTS["fd"], preset))
    method = spec.experiment.method
    body = build_backbone("resnet50", spec.preset.model, "batch", method, scales if method.decomposed else None)
    for layer in body.modules():
        if isinstance(layer, PSConv2d) and not kernel:
            layer.without_kernel()
    if method.global_scale:
        predict_scales(body, scales)
    return Classifier(body, 1000) if classify else Features(body)


def predict_scales(model: nn.Module, scales: dict[str, tuple[float, float]]) -> None:
    """Make the global scale learners of a network predict given scales (height, width) by block ("layer2.0").

    Raises:
        ValueError: a block has no learner.
    """
    learners = {name: part for name, part in model.named_modules() if isinstance(part, GlobalScaleConv2d)}
    for block, scale in scales.items():
        found = [part for name, part in learners.items() if f".{name}".endswith(f".{block}.conv2")]
        if len(found) != 1:
            raise ValueError(f"Block {block} has {len(found)} scale learners, wanted is one; build it with GSL there.")
        with torch.no_grad():
            found[0].scale_predictor.bias.copy_(torch.tensor(scale) - 1)  # the prediction is 1 + bias


def network_cases(device: str, quick: bool, memory_format: torch.memory_format) -> Iterator[Case]:
    """Yield classification at 224 px, forward alone and with backward, and a detector's backbone at 800x1344 px."""
    side, preset = (64, "mini") if quick else (224, "full")
    batch = 1 if quick else BATCH[device]
    plans = [("forward", True, batch, (side, side)), ("train", True, batch, (side, side))]
    if not quick:
        plans.append(("forward", False, 1, (800, 1344)))
    for mode, classify, images, (height, width) in plans:

        def calls(mode=mode, classify=classify, shape=(images, 3, height, width)) -> dict[str, Call]:
            x = random_input(shape, "fp32", device, memory_format)
            make = {"forward": forward_call, "train": train_call}[mode]
            found = {}
            names = {name: (name, False) for name in EXPERIMENTS}
            if PSConv2d(64, 64).has_kernel(x.device, x.dtype):
                names["kernel"] = ("psconv", True)
            for key, (name, kernel) in names.items():
                torch.manual_seed(0)
                model = network(name, classify, preset, kernel).to(device, memory_format=memory_format)
                found[key] = make(model, x)
            return found

        yield Case("network", {"batch": images, "height": height, "width": width}, "fp32", mode, calls, 4.0)
