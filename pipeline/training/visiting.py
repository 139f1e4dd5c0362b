"""Random images of a split for measurements on a trained detector: resized as in a test, one size per batch."""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline.data.detection_set import DetectionSet, load_scaled
from pipeline.spec import Spec

BATCH = 8


class Visit(NamedTuple):
    """Images [3, H, W] in 0-1, all of one size, and their boxes [n, 4] in network-input pixels."""

    images: list[Tensor]
    boxes: list[Tensor]


def visits(spec: Spec, data: DetectionSet, count: int, title: str, device: torch.device) -> Iterator[Visit]:
    """Yield `count` random images of a data set, or all where it has fewer, drawn with the preset's seed."""
    count = min(count, len(data))
    random = torch.Generator().manual_seed(spec.preset.seed)
    rows = torch.randperm(len(data), generator=random)[:count].tolist()
    rows.sort(key=data.size)  # batches of one size: padding would change averages over positions
    factor = spec.preset.factor
    short, long = spec.recipe.short_side * factor, spec.recipe.long_side * factor
    for start in tqdm(range(0, count, BATCH), desc=title, file=sys.stderr, mininterval=2.0):
        samples = [load_scaled(data, row, short, long) for row in rows[start : start + BATCH]]
        images, boxes = [image.to(device) for image, _ in samples], [found for _, found in samples]
        if len({image.shape for image in images}) == 1:
            yield Visit(images, boxes)
        else:
            yield from (Visit([image], [found]) for image, found in zip(images, boxes, strict=True))
