"""Detections of a trained model on the validation images, at one resolution or several, in COCO results form."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.ops import batched_nms
from tqdm import tqdm

from pipeline import blocks, paths
from pipeline.config import resolve
from pipeline.data import transforms
from pipeline.data.detection_set import DetectionSet, load_scaled
from pipeline.data.manifest import load_split
from pipeline.data.proposals import join_resolutions, scaled_proposals
from pipeline.data.samplers import orientations
from pipeline.errors import InputError, nearest
from pipeline.evaluation import merge_pyramid
from pipeline.files import write_json
from pipeline.models import build_detector
from pipeline.models.test_time import Detect, average_regions, keep_candidates, with_flip
from pipeline.options import ProposalNetwork, Test
from pipeline.parts import load
from pipeline.preset import Preset
from pipeline.spec import Spec
from pipeline.training.checkpoint import load_trained, load_weights
from pipeline.training.inputs import give_proposals, read_scales
from pipeline.training.loading import prefetched
from pipeline.training.precision import autocast, choose_precision, pick_device, set_threads
from pipeline.training.scale_ranges import Range, valid_objects

BATCH = 8
NMS = 0.5  # IoU of Faster R-CNN's suppression
IPN_SIGMA = 0.55  # SNIPER's soft-NMS over resolutions
Detections = dict[str, Tensor]
Loader = Callable[[Dataset, range], Iterable[Any]]  # gives some batches of a data set


def predict(spec: Spec, test: str) -> None:
    """Detect objects in every validation image as the test says, with every block, and write `paths.detections`.

    A test that searches its ranges also writes `paths.ranges`.
    """
    if test not in spec.experiment.tests:
        raise InputError(
            f"{spec.name} has no test {test!r}{nearest(test, spec.experiment.tests)}; it has "
            f"{sorted(spec.experiment.tests)}."
        )
    set_threads(spec.preset)
    split = load_split(spec.manifest, "val")
    found = [predict_block(one, test, split) for one in spec.in_blocks()]
    evaluation = paths.evaluation_name(spec.name, test)
    if spec.experiment.tests[test].search_ranges:
        write_json(paths.ranges(spec.preset.name, evaluation), blocks.summary([ranges for _, ranges in found]))
    detections = blocks.listed([results for results, _ in found])
    write_json(paths.detections(spec.preset.name, evaluation), detections, indent=None)


def predict_block(spec: Spec, test: str, split: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Return one block's detections as COCO results, and what the search for ranges found, if the test has one."""
    preset, options = spec.preset, spec.experiment.tests[test]
    device = pick_device()
    data = DetectionSet(split, spec.data.limit_val)
    give_proposals(data, spec, "val", options.proposals)
    detect = load_detect(spec, options, data.classes, device)
    by_level = detect_levels(detect, data, spec, options, device)
    tests, ranges = [options] * len(data), None
    if options.search_ranges:
        tests, ranges = load("range_search").searched_tests(spec, test, by_level, data, split)
    results: list[dict[str, Any]] = []
    for row, entry in enumerate(data.entries):
        levels = [level[row] for level in by_level]
        proposes = spec.experiment.detector == "d_rfcn_rpn"
        merged = join_resolutions(levels) if proposes else merge(levels, tests[row], preset, suppression_of(spec))
        results.extend(coco_results(entry["id"], merged, data.size(row)))
    return results, ranges


def suppression_of(spec: Spec) -> float:
    """Return the IoU of a detector's own non-maximum suppression."""
    return spec.experiment.region.nms if spec.experiment.region else NMS


def load_detector(spec: Spec, classes: int, device: torch.device, file: Path | None = None) -> nn.Module:
    """Return the trained detector of a specification, ready to detect; its weights are in `file` or the project's."""
    file = file or paths.weights(spec.preset.name, spec.name)
    tensors, metadata = load_weights(file, spec.block)
    model = build_detector(spec, classes, read_scales(metadata))
    load_trained(model, tensors, file)
    return model.to(device, memory_format=torch.channels_last).eval()


def load_detect(spec: Spec, options: Test, classes: int, device: torch.device, file: Path | None = None) -> Detect:
    """Return a test's detector: a trained network, with mirrored images, or several networks together.

    Where ranges filter detections or soft-NMS decays them, nothing is suppressed before (SNIPER's aggregation).

    Raises:
        InputError: an ensemble of detectors that do not classify given regions.
    """
    model = load_detector(spec, classes, device, file)
    if options.merge != "nms" or options.valid_ranges is not None:
        keep_candidates(model)
    regions = spec.experiment.detector == "d_rfcn_rcn"
    if options.members and not regions:
        raise InputError(
            f"Only d_rfcn_rcn experiments look at the same regions and can be averaged; {spec.name} is a "
            f"{spec.experiment.detector}, so leave members out of its tests."
        )
    if regions and (options.members or options.flip):
        others = [resolve(member, spec.preset.name).of_block(spec.block) for member in options.members]
        return average_regions([model, *(load_detector(other, classes, device) for other in others)], options.flip)
    return with_flip(model) if options.flip else model


def detect_levels(
    detect: Detect, data: DetectionSet, spec: Spec, options: Test, device: torch.device, loader: Loader = prefetched
) -> list[list[Detections]]:
    """Return the detections of every image at each resolution of a test.

    A proposal network keeps the best of those that lie in each resolution's valid range; other detections are not
    changed here, because `merge` filters them.
    """
    preset, proposes = spec.preset, spec.experiment.detector == "d_rfcn_rpn"
    top = (spec.experiment.rpn or ProposalNetwork()).top
    precision = choose_precision(preset, device)
    by_level = []
    ranges = options.valid_ranges or ((0.0, None),) * len(options.short_sides)
    for short, long, valid_range in zip(options.short_sides, options.long_sides, ranges, strict=True):
        level = detect_all(detect, data, preset, short, long, precision, device, f"{spec.run} {short}", loader)
        if proposes:
            bounds = scaled_range(valid_range, preset)
            level = [{name: value[:top] for name, value in valid_part(found, bounds).items()} for found in level]
        by_level.append(level)
    return by_level


@torch.inference_mode()
def detect_all(*arguments: Any) -> list[Detections]:
    """Return what `detect_each` does; tensors that the network then keeps are of no use to a training."""
    return detect_each(*arguments)


@torch.no_grad()
def detect_each(
    detect: Detect,
    data: DetectionSet,
    preset: Preset,
    short: int,
    long: int,
    precision: str,
    device: torch.device,
    title: str,
    loader: Loader = prefetched,
) -> list[Detections]:
    """Return the detections of every image at one resolution, with `boxes` [D, 4] xyxy in file pixels."""
    groups = orientations([data.size(row) for row in range(len(data))])
    order = sorted(range(len(data)), key=lambda row: (groups[row], row))
    found: list[Detections] = [{} for _ in order]
    batches = TestBatches(data, order, short, long, preset.factor)
    loaded = loader(batches, range(len(batches)))
    for rows, images, regions in tqdm(loaded, title, len(batches), file=sys.stderr, mininterval=2.0):
        images = [image.to(device, non_blocking=True) for image in images]
        given = {name: [part[name].to(device, non_blocking=True) for part in regions] for name in regions[0]}
        with autocast(precision, device):
            outputs = detect(images, **given)
        for row, image, output in zip(rows, images, outputs, strict=True):
            height, width = data.size(row)
            ratio = torch.tensor([width / image.shape[-1], height / image.shape[-2]], device=device).repeat(2)
            found[row] = {
                "boxes": (output["boxes"].float() * ratio).cpu(),
                "scores": output["scores"].float().cpu(),
                "labels": output["labels"].cpu(),
                **(load("mask_results").kept_masks(output) if "mask_probs" in output else {}),
            }
    return found


class TestBatches(Dataset):
    """Batches of `BATCH` images at one resolution: their rows, images [3, H, W] and the regions given for each."""

    def __init__(self, data: DetectionSet, rows: Sequence[int], short: int, long: int, factor: float) -> None:
        self.data, self.rows, self.short, self.long, self.factor = data, rows, short, long, factor

    def __len__(self) -> int:
        return -(-len(self.rows) // BATCH)

    def __getitem__(self, index: int) -> tuple[list[int], list[Tensor], list[dict[str, Tensor]]]:
        rows = list(self.rows[index * BATCH : (index + 1) * BATCH])
        limits = self.short * self.factor, self.long * self.factor
        images = [load_scaled(self.data, row, *limits)[0] for row in rows]
        pairs = zip(rows, images, strict=True)
        return rows, images, [scaled_proposals(self.data, row, self.short, i.shape[-2:]) for row, i in pairs]


def merge(levels: list[Detections], options: Test, preset: Preset, iou: float = NMS) -> Detections:
    """Merge one image's detections over resolutions.

    Detections outside a resolution's valid range are dropped (SNIP, section 6.1). Soft-NMS is SNIPER's; `nms` is the
    detector's own suppression at an overlap of `iou`, over all resolutions, plain and mirrored. Detections of a single
    resolution without mirroring are not changed.

    With soft-NMS or ranges, this is the only suppression, except for detectors that suppress before they compute masks
    or grids (`keep_candidates`). Without either, the detector has suppressed at each resolution.
    """
    if len(levels) == 1 and options.valid_ranges is None and not options.flip and options.merge == "nms":
        return levels[0]
    ranges = options.valid_ranges or ((0.0, None),) * len(levels)
    scaled = [scaled_range(bounds, preset) for bounds in ranges]
    limit = preset.model.detections
    if options.merge != "nms":
        method = "gaussian" if options.merge == "soft_nms" else "linear"
        return merge_pyramid(levels, scaled, sigma=IPN_SIGMA, max_detections=limit, method=method)
    levels = [valid_part(level, bounds) for level, bounds in zip(levels, scaled, strict=True)]
    joined = {name: torch.cat([level[name] for level in levels]) for name in levels[0]}
    kept = batched_nms(joined["boxes"], joined["scores"], joined["labels"], iou)[:limit]
    return {name: value[kept] for name, value in joined.items()}


def scaled_range(valid_range: Range, preset: Preset) -> Range:
    """Convert a range from original COCO pixels to pixels of the preset's files."""
    low, high = valid_range
    return low * preset.pixel_factor, None if high is None else high * preset.pixel_factor


def valid_part(detections: Detections, valid_range: Range) -> Detections:
    """Return the detections whose sqrt(w h) lies in a closed range, in file pixels."""
    kept = valid_objects(transforms.sides(detections["boxes"]), valid_range)
    return {name: value[kept] for name, value in detections.items()}


def coco_results(image_id: int, detections: Detections, size: tuple[int, int] | None = None) -> list[dict[str, Any]]:
    """Return detections in COCO results form: xywh boxes to a thousandth of a pixel, scores to six digits.

    Detections with masks also have a `segmentation`, for which `size`, the image file's (h, w), is needed.
    """
    results: list[dict[str, Any]] = [
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
    if "mask_probs" in detections:
        codes = load("mask_results").encode_masks(detections["mask_probs"], detections["boxes"], size)
        results = [result | {"segmentation": code} for result, code in zip(results, codes, strict=True)]
    return results
