"""Detectors at test time: mirrored images beside plain ones, and networks that score the same regions together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pipeline.models.detectors.grid_rcnn import GridRoIHeads
from pipeline.models.detectors.rfcn import RFCN
from pipeline.models.heads.focal import FocalHead
from pipeline.models.heads.mask_branch import MaskRoIHeads
from pipeline.models.heads.roi_heads import RoIHeads

Detections = dict[str, Tensor]
Detect = Callable[..., list[Detections]]


def keep_candidates(model: nn.Module) -> None:
    """Let a trained detector return every detection above its score threshold, for suppression that comes later.

    Detectors with masks, and Grid R-CNN, keep their suppression: they compute masks or boxes only for what it leaves.
    """
    for part in model.modules():
        if isinstance(part, RoIHeads) and not isinstance(part, MaskRoIHeads | GridRoIHeads):
            part.nms_thresh, part.detections_per_img = None, None
        elif isinstance(part, FocalHead):
            part.nms_iou, part.detections = None, None


def with_flip(detect: Detect) -> Detect:
    """Return a detector that returns the detections of every image, followed by those of its mirror image.

    Both are in the plain image's pixels, masks [D, 1, 28, 28] included, and do not suppress each other.
    """

    def detect_both(images: list[Tensor]) -> list[Detections]:
        mirrored = detect([image.flip(-1) for image in images])
        pairs = zip(detect(images), mirrored, images, strict=True)
        return [joined(plain, unmirrored(other, image.shape[-1])) for plain, other, image in pairs]

    return detect_both


def joined(first: Detections, second: Detections) -> Detections:
    """Return the first's detections followed by the second's."""
    return {name: torch.cat([first[name], second[name]]) for name in first}


def unmirrored(detections: Detections, width: int) -> Detections:
    """Return a mirror image's detections in the pixels of the plain image, which is `width` pixels wide."""
    found = dict(detections, boxes=mirror(detections["boxes"], width))
    if "mask_probs" in found:
        found["mask_probs"] = found["mask_probs"].flip(-1)
    return found


def mirror(boxes: Tensor, width: int) -> Tensor:
    """Mirror xyxy boxes [n, 4] left to right in an image of `width` pixels."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=-1)


def average_regions(models: Sequence[RFCN], flip: bool = False) -> Detect:
    """Return a detector that averages each proposal's scores and boxes over networks and, with `flip`, mirror images.

    The first network's thresholds select among the averages (SNIP, section 7.3).

    Raises:
        ValueError: no network.
    """
    if not models:
        raise ValueError("An ensemble needs at least one network.")

    def detect(images: list[Tensor], proposals: Sequence[Tensor]) -> list[Detections]:
        looks = [model.region_scores(images, proposals) for model in models]
        if flip:
            widths = [image.shape[-1] for image in images]
            images = [image.flip(-1) for image in images]
            proposals = [mirror(boxes, width) for boxes, width in zip(proposals, widths, strict=True)]
            for model in models:
                found = model.region_scores(images, proposals)
                looks.append([(s, mirror(b, width)) for (s, b), width in zip(found, widths, strict=True)])
        scores = [torch.stack([look[row][0] for look in looks]).mean(dim=0) for row in range(len(images))]
        boxes = [torch.stack([look[row][1] for look in looks]).mean(dim=0) for row in range(len(images))]
        sizes = [tuple(image.shape[-2:]) for image in images]
        still = torch.zeros(sum(map(len, boxes)), 1, 4, device=images[0].device)  # averages are refined already
        return models[0].roi_heads.select_detections(torch.cat(scores), still, boxes, sizes)

    return detect
