"""Detections of a trained model on the validation images, at one resolution or several, in COCO results form."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms
from tqdm import tqdm

from pipeline import paths
from pipeline.config import Spec
from pipeline.data import transforms
from pipeline.data.detection_set import DetectionSet
from pipeline.data.manifest import load_split
from pipeline.data.samplers import orientations
from pipeline.errors import InputError, nearest
from pipeline.evaluation import merge_pyramid
from pipeline.files import write_json
from pipeline.models import build_detector
from pipeline.options import Test
from pipeline.preset import Preset
from pipeline.training.checkpoint import load_weights
from pipeline.training.detection import read_scales
from pipeline.training.feeding import load_scaled
from pipeline.training.precision import autocast, choose_precision, pick_device, set_threads
from pipeline.training.scale_ranges import valid_objects

BATCH = 8
IPN_SIGMA = 0.55  # SNIPER's soft-NMS over resolutions
Detections = dict[str, Tensor]


def predict(spec: Spec, test: str) -> None:
    """Detect on every validation image as the test says and write `paths.detections`."""
    if test not in spec.experiment.tests:
        raise InputError(
            f"{spec.name} has no test {test!r}{nearest(test, spec.experiment.tests)}; it has "
            f"{sorted(spec.experiment.tests)}."
        )
    preset, options = spec.preset, spec.experiment.tests[test]
    set_threads(preset)
    device = pick_device()
    data = DetectionSet(load_split(paths.manifest(preset.name), "val"), preset.data.limit_val)
    tensors, metadata = load_weights(paths.weights(preset.name, spec.name))
    model = build_detector(spec, data.classes, read_scales(metadata))
    model.load_state_dict(tensors)
    model = model.to(device, memory_format=torch.channels_last).eval()
    precision = choose_precision(preset, device)
    by_level = [
        detect_all(model, data, preset, short, long, precision, device, f"{spec.name} {short}")
        for short, long in zip(options.short_sides, options.long_sides, strict=True)
    ]
    results: list[dict[str, Any]] = []
    for row, entry in enumerate(data.entries):
        merged = merge([level[row] for level in by_level], options, preset)
        results.extend(coco_results(entry["id"], merged))
    evaluation = paths.evaluation_name(spec.name, test)
    write_json(paths.detections(preset.name, evaluation), results, indent=None)


@torch.inference_mode()
def detect_all(
    model: nn.Module,
    data: DetectionSet,
    preset: Preset,
    short: int,
    long: int,
    precision: str,
    device: torch.device,
    title: str,
) -> list[Detections]:
    """Return the detections of every image at one resolution, boxes [D, 4] xyxy in file pixels."""
    groups = orientations([data.size(row) for row in range(len(data))])
    order = sorted(range(len(data)), key=lambda row: (groups[row], row))
    found: list[Detections] = [{} for _ in order]
    for start in tqdm(range(0, len(order), BATCH), desc=title, file=sys.stderr, mininterval=2.0):
        rows = order[start : start + BATCH]
        images = [load_scaled(data, row, short * preset.factor, long * preset.factor)[0].to(device) for row in rows]
        with autocast(precision, device):
            outputs = model(images)
        for row, image, output in zip(rows, images, outputs, strict=True):
            height, width = data.size(row)
            ratio = torch.tensor([width / image.shape[-1], height / image.shape[-2]], device=device).repeat(2)
            found[row] = {
                "boxes": (output["boxes"].float() * ratio).cpu(),
                "scores": output["scores"].float().cpu(),
                "labels": output["labels"].cpu(),
            }
    return found


def merge(levels: list[Detections], options: Test, preset: Preset) -> Detections:
    """Merge one image's detections over resolutions.

    Detections outside a resolution's valid range are dropped (SNIP, section 5.4). Soft-NMS is SNIPER's; `nms` is
    Faster R-CNN's own threshold again, over all resolutions. One resolution stays as it is.
    """
    if len(levels) == 1 and options.valid_ranges is None:
        return levels[0]
    ranges = options.valid_ranges or ((0.0, None),) * len(levels)
    factor = preset.pixel_factor
    scaled = [(low * factor, None if high is None else high * factor) for low, high in ranges]
    limit = preset.model.detections
    if options.merge == "soft_nms":
        return merge_pyramid(levels, scaled, sigma=IPN_SIGMA, max_detections=limit)
    levels = [valid_part(level, bounds) for level, bounds in zip(levels, scaled, strict=True)]
    joined = {name: torch.cat([level[name] for level in levels]) for name in ("boxes", "scores", "labels")}
    kept = batched_nms(joined["boxes"], joined["scores"], joined["labels"], 0.5)[:limit]
    return {name: value[kept] for name, value in joined.items()}


def valid_part(detections: Detections, valid_range: tuple[float, float | None]) -> Detections:
    """Return the detections whose sqrt(w h) lies in a closed range, both in file pixels."""
    kept = valid_objects(transforms.sides(detections["boxes"]), valid_range)
    return {name: value[kept] for name, value in detections.items()}


def coco_results(image_id: int, detections: Detections) -> list[dict[str, Any]]:
    """Return detections in COCO results form: xywh boxes, a thousandth of a pixel and six digits of score."""
    return [
        {
            "image_id": image_id,
            "category_id": label,
            "bbox": [round(x1, 3), round(y1, 3), round(x2 - x1, 3), round(y2 - y1, 3)],
            "score": round(score, 6),
        }
        for (x1, y1, x2, y2), label, score in zip(
            detections["boxes"].tolist(), detections["labels"].tolist(), detections["scores"].tolist(), strict=True
        )
    ]
