"""Merging the detections of an image pyramid (SNIP, section 6.1; SNIPER's `Tester.aggregate`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.evaluation.suppression import soft_nms

Range = tuple[float | None, float | None]


def merge_pyramid(
    detections: Sequence[dict[str, Tensor]],
    valid_ranges: Sequence[Range],
    sigma: float = 0.55,
    max_detections: int | None = 200,
    method: str = "gaussian",
    iou_threshold: float = 0.3,
    score_threshold: float = 0.001,
) -> dict[str, Tensor]:
    """Keep each resolution's detections of valid size, join them, suppress class by class, and keep the best.

    Other entries of the dicts that have a row for each detection (masks) are merged, too.

    Args:
        detections: one dict per resolution: `boxes` [n, 4] half-open xyxy in original px, `scores` [n], `labels` [n].
        valid_ranges: closed (lo, hi) per resolution, on sqrt(w * h) in original px; None is an open end.
        sigma, method, iou_threshold, score_threshold: those of `soft_nms`.
        max_detections: per image; ties with the last one are kept, so there may be more. None keeps all.

    Returns:
        A dict with the keys of the first resolution, in falling order of the decayed score.

    Raises:
        ValueError: no resolution, not one range per resolution, or a range that ends before it starts.

    Differs from the paper, which gives neither the ranges of inference nor its soft-NMS: they are SNIPER's.
    """
    if not detections or len(detections) != len(valid_ranges):
        raise ValueError(f"Each resolution needs one range, got {len(detections)} and {len(valid_ranges)}.")
    valid = [_of_valid_size(found, *ends) for found, ends in zip(detections, valid_ranges, strict=True)]
    joined = {key: torch.cat([found[key] for found in valid]) for key in valid[0]}
    boxes, scores, labels = joined["boxes"], joined["scores"], joined["labels"]
    kept, decayed = [torch.zeros(0, dtype=torch.int64, device=boxes.device)], [scores[:0]]
    best, least = scores[:0], 0.0  # the highest decayed scores so far, and the least score that will be kept
    for label in labels.unique():
        members = torch.nonzero(labels == label).flatten()
        picked, live = soft_nms(
            boxes[members], scores[members], method, sigma, iou_threshold, score_threshold, max_detections, least
        )
        kept.append(members[picked])
        decayed.append(live)
        if max_detections and len(best) + len(live) >= max_detections:
            best = torch.cat([best, live]).topk(max_detections).values
            least = float(best[-1])
        else:
            best = torch.cat([best, live])
    index, scores = torch.cat(kept), torch.cat(decayed)
    if max_detections is not None and len(scores) > max_detections:
        cut = scores >= scores.topk(max_detections).values[-1] if max_detections else scores > torch.inf
        index, scores = index[cut], scores[cut]
    order = torch.argsort(scores, descending=True, stable=True)
    index = index[order]
    return {key: value[index] for key, value in joined.items()} | {"scores": scores[order]}


def _of_valid_size(found: dict[str, Tensor], low: float | None, high: float | None) -> dict[str, Tensor]:
    low, high = -torch.inf if low is None else low, torch.inf if high is None else high
    if high < low:
        raise ValueError(f"A valid range is (lo, hi) with lo <= hi, None for an open end, got ({low}, {high}).")
    boxes = found["boxes"].reshape(-1, 4)
    width, height = (boxes[:, 2:] - boxes[:, :2]).double().clamp(min=0).unbind(1)
    size = (width * height).sqrt()
    inside = (size >= low) & (size <= high)
    return {key: (boxes if key == "boxes" else value)[inside] for key, value in found.items()}
