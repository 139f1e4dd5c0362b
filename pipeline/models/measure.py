"""Parameters and multiply-adds of a network, on the meta device: no data, no weights, no memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.config import Spec
from pipeline.models.build import build_classifier, build_detector

PROPOSALS = 1000
FULL_INPUT = (800, 1344)


def measure(spec: Spec, scales: dict[str, tuple[float, float]] | None = None, classes: int = 80) -> dict[str, Any]:
    """Return `parameters_total`, `parameters_trainable`, `macs`, the input size and where the scales come from.

    Multiply-adds are those of convolutions and linear layers, for one image of 800x1344 pixels times the preset's
    factor, the backbone, the RPN and 1,000 proposals of a two-stage detector; classifiers take the preset's crop.
    """
    classifier = spec.experiment.detector == "classifier"
    preset = spec.preset
    with torch.device("meta"):
        model = (
            build_classifier(spec, 1000 if preset.factor == 1 else classes)
            if classifier
            else build_detector(spec, classes, scales)
        )
    model.eval()
    if classifier:
        side = preset.training.pretrain_size
        size = (side, side)
        macs = count(lambda: model(torch.empty(1, 3, side, side, device="meta")))
    else:
        size = tuple(max(32, round(side * preset.factor / 32) * 32) for side in FULL_INPUT)
        macs = count(lambda: detector_parts(model, size))
    return {
        "experiment": spec.name,
        "parameters_total": sum(p.numel() for p in model.parameters()),
        "parameters_trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "macs": macs,
        "scales": (("learnt" if scales else "assumed") if spec.experiment.method.decomposed else None),
        "input": list(size),
    }


def detector_parts(model: nn.Module, size: tuple[int, int]) -> None:
    """Run the parts of a two-stage detector whose multiply-adds count: everything but RoIAlign and NMS."""
    features = model.backbone(torch.empty(1, 3, *size, device="meta"))
    model.rpn.head(list(features.values()))
    heads = model.roi_heads
    resolution = heads.box_roi_pool.output_size
    channels = model.backbone.out_channels
    heads.box_predictor(heads.box_head(torch.empty(PROPOSALS, channels, *resolution, device="meta")))


def count(run: Any) -> int:
    """Return the multiply-adds of convolutions and matrix products that `run` performs."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        run()
    flops = counter.get_total_flops()
    return int(flops) // 2


def printed_scales(spec: Spec) -> dict[str, tuple[float, float]] | None:
    """Return the scales to assume where none have been learnt: POD's printed ones, spread over the blocks.

    POD, table 3 prints the first and the last block of each stage for Faster R-CNN R50-FPN; blocks between take the
    last block's.
    """
    if not spec.experiment.method.decomposed:
        return None
    from pipeline.models.backbones import BLOCKS

    first = {2: (0.89, 0.93), 3: (0.77, 0.82), 4: (0.46, 0.89)}
    last = {2: (1.19, 1.15), 3: (1.41, 1.39), 4: (2.81, 3.68)}
    scales = {}
    for stage in (2, 3, 4):
        blocks = min(BLOCKS[spec.experiment.backbone][stage - 1], spec.preset.model.max_blocks or 99)
        for block in range(blocks):
            scales[f"layer{stage}.{block}"] = first[stage] if block == 0 else last[stage]
    return scales
