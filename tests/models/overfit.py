"""Does a detector learn at all? Train a narrow one on eight ScaleWorld images of 160x120, then score it on them.

`overfit(spec("msfm_frcnn_r50_fpn_1x"))` does all of it; the parts are there for families that need more
(proposals of another network, a model built by hand).
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
import tiny
import torch
from pycocotools import mask as rle
from torch import Tensor, nn

from pipeline import config
from pipeline.data.scaleworld.scenes import annotate_scene, render_scene
from pipeline.data.scaleworld.shapes import CATEGORIES
from pipeline.evaluation import evaluate_detections
from pipeline.models import build_detector
from pipeline.prediction.detector import coco_results
from pipeline.preset import Data, Training
from pipeline.spec import Spec

FACTOR = 0.25  # 160x120 pixels
IMAGES = 8
SMALLEST_SIDE = 12  # pixels; a narrow network need not find a speck in order to show that it learns
CLASSES = len(CATEGORIES)

SIZE = {"width": 0.25, "fpn_channels": 64, "head_channels": 128, "fusion_min_width": 8, "score_threshold": 0.01}
LIMITS = {"rpn_pre_nms_train": 200, "rpn_post_nms_train": 100, "rpn_pre_nms_test": 200, "rpn_post_nms_test": 100}
LIMITS |= {"rpn_batch": 64, "roi_batch": 32, "detections": 100}
PRESET = msgspec.structs.replace(
    tiny.PRESET,
    name="overfit",
    title="overfit (tests)",
    data=Data(kind="scaleworld", train_images=IMAGES, val_images=IMAGES, seed=0, may_publish_images=True),
    factor=FACTOR,
    model=msgspec.structs.replace(tiny.PRESET.model, **SIZE, **LIMITS),
    training=Training(batch=IMAGES, norm="batch", frozen_stages=-1, precision="fp32"),
)


def spec(experiment: str, size: dict[str, Any] | None = None, **changes: Any) -> Spec:
    """Return an experiment under the overfit preset, with changes to its network's sizes.

    `changes` replace options of the experiment, `detector="fcos"` for example.
    """
    found = msgspec.structs.replace(config.resolve(experiment, "mini"), preset=PRESET)
    model = msgspec.structs.replace(PRESET.model, **(size or {}))
    return tiny.changed(found, experiment=changes, preset={"model": model})


@functools.cache
def scenes(masks: bool = False, enlarged: int = 1) -> tuple[list[Tensor], list[dict[str, Tensor]], dict[str, Any]]:
    """Return eight images [3, 120, 160] in 0-1, their targets (with `masks` [n, H, W] where asked), and COCO's dict.

    `enlarged` images show the same scenes in as many times more pixels a side.
    """
    factor = FACTOR * enlarged
    chosen: list[int] = []
    index = 0
    while len(chosen) < IMAGES:
        height, width, annotations = annotate_scene(0, index, "overfit", FACTOR)  # the same choice at every size
        if height < width and annotations and min(min(one["bbox"][2:]) for one in annotations) >= SMALLEST_SIDE:
            chosen.append(index)
        index += 1
    images, targets, entries, rows = [], [], [], []
    for number, index in enumerate(chosen, 1):
        pixels, annotations = render_scene(0, index, "overfit", factor)
        images.append(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)
        boxes = torch.tensor([one["bbox"] for one in annotations], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        targets.append({"boxes": boxes, "labels": torch.tensor([one["category"] for one in annotations])})
        if masks:
            decoded = np.stack([rle.decode(one["segmentation"]) for one in annotations])
            targets[-1]["masks"] = torch.from_numpy(decoded)
        entries.append({"id": number, "height": pixels.shape[0], "width": pixels.shape[1]})
        for one in annotations:
            rows.append({**one, "id": len(rows) + 1, "image_id": number, "category_id": one["category"]})
    categories = [{"id": number, "name": name} for number, name in enumerate(CATEGORIES, 1)]
    return images, targets, {"images": entries, "annotations": rows, "categories": categories}


def train(
    model: nn.Module, images: list[Tensor], targets: list[dict[str, Tensor]], steps: int, lr: float
) -> list[float]:
    """Train on all images in every step, with AdamW and one cycle of the learning rate, and return the losses."""
    model.train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.2)
    losses = []
    for _ in range(steps):
        loss = sum(model(images, targets).values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def score_ap50(outputs: list[dict[str, Tensor]], truth: dict[str, Any], iou_type: str = "bbox") -> float:
    """Return the AP50 of a model's detections, one dict an image of `truth`, by their boxes or by their masks."""
    results = []
    for entry, output in zip(truth["images"], outputs, strict=True):
        results.extend(coco_results(entry["id"], output, (entry["height"], entry["width"])))
    return evaluate_detections(truth, results, iou_type)["ap50"]


def overfit(
    model_or_spec: nn.Module | Spec, steps: int = 100, lr: float = 3e-3, masks: bool = False, seed: int = 0
) -> tuple[nn.Module, dict[str, float]]:
    """Train on the eight scenes with one thread; return the model, in evaluation mode, and AP50 by COCO's IoU type."""
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_detector(model_or_spec, CLASSES) if isinstance(model_or_spec, Spec) else model_or_spec
        images, targets, truth = scenes(masks)
        train(model, images, targets, steps, lr)
        with torch.inference_mode():
            outputs = model.eval()(images)
        return model, {kind: score_ap50(outputs, truth, kind) for kind in (("bbox", "segm") if masks else ("bbox",))}


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, as the time limits of these tests are meant; results then do not depend on the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
