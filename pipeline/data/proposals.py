"""Proposals of a trained region proposal network, one file per split: written once, read by region classifiers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline import blocks
from pipeline.data import transforms
from pipeline.errors import InputError, reading
from pipeline.files import replacing


class Proposals:
    """Proposed boxes of every image at every resolution of the network.

    Attributes:
        boxes: [N, 4], half-open xyxy in file pixels; image by image, resolution by resolution, best first.
        scores: [N].
        offsets: [images * resolutions + 1], the first row of each part.
        rows: image id -> row of the image.
        short_sides: of the resolutions, on the papers' 800-pixel scale.
    """

    def __init__(
        self, boxes: Tensor, scores: Tensor, offsets: Tensor, image_ids: Sequence[int], short_sides: Sequence[int]
    ) -> None:
        self.boxes, self.scores, self.short_sides = boxes, scores, tuple(short_sides)
        self.offsets = offsets.tolist()
        self.rows = {number: row for row, number in enumerate(image_ids)}

    def of(self, image_id: int, short_side: int) -> Tensor:
        """Return an image's proposals [P, 4] for a classifier at one resolution, in file pixels.

        They are those of this resolution if the network has it among several (SNIP, section 6.1); otherwise all, best
        first, because one resolution's proposals serve every other (section 7.3).
        """
        first = self.rows[image_id] * len(self.short_sides)
        if len(self.short_sides) > 1 and short_side in self.short_sides:
            first += self.short_sides.index(short_side)
            return self.boxes[self.offsets[first] : self.offsets[first + 1]]
        part = slice(self.offsets[first], self.offsets[first + len(self.short_sides)])
        return self.boxes[part][torch.argsort(self.scores[part], descending=True, stable=True)]


def scaled_proposals(data: Any, row: int, short_side: int, size: tuple[int, int]) -> dict[str, Tensor]:
    """Return `proposals` [P, 4] of image `row` of a data set in network-input pixels, or nothing without proposals.

    Args:
        data: a `DetectionSet`.
        row: the image's row in it.
        short_side: of the resolution, on the papers' 800-pixel scale.
        size: (h, w) of the resized image.
    """
    if data.proposals is None:
        return {}
    boxes = data.proposals.of(data.entries[row]["id"], short_side)
    return {"proposals": transforms.resize_boxes(boxes, data.size(row), size)}


def join_resolutions(levels: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join the proposals of all resolutions, best first (SNIP, table 3: 900 of three resolutions).

    Args:
        levels: one dict per resolution: `boxes` [P, 4] in file pixels, `scores` [P], `labels` [P].
    """
    joined = {name: torch.cat([level[name] for level in levels]) for name in levels[0]}
    order = torch.argsort(joined["scores"], descending=True, stable=True)
    return {name: value[order] for name, value in joined.items()}


Levels = Sequence[Sequence[dict[str, Tensor]]]  # for each resolution, for each image `boxes` [P, 4] and `scores` [P]


def write_proposals(
    path: Path, image_ids: Sequence[int], by_level: Levels, short_sides: Sequence[int], further: Sequence[Levels] = ()
) -> None:
    """Write the proposals of every image and resolution as safetensors.

    Args:
        path: the file.
        image_ids: of the images, in order.
        by_level: boxes in file pixels and scores, best first.
        short_sides: of the resolutions, on the papers' 800-pixel scale.
        further: those of further blocks.
    """
    tensors = blocks.joined([_tensors(image_ids, levels) for levels in (by_level, *further)])
    with replacing(path) as temporary:
        save_file(tensors, temporary, {"short_sides": json.dumps(list(short_sides))})


def _tensors(image_ids: Sequence[int], by_level: Levels) -> dict[str, Tensor]:
    parts = [level[row] for row in range(len(image_ids)) for level in by_level]
    counts = torch.tensor([0, *(len(part["scores"]) for part in parts)])
    return {
        "boxes": torch.cat([torch.zeros(0, 4), *(part["boxes"].float() for part in parts)]),
        "scores": torch.cat([torch.zeros(0), *(part["scores"].float() for part in parts)]),
        "offsets": counts.cumsum(0),
        "image_ids": torch.tensor(list(image_ids), dtype=torch.int64),
    }


def read_proposals(path: Path, image_ids: Sequence[int], block: int = 1) -> Proposals:
    """Read a block's proposals; raise InputError where they are missing, broken, or lack one of the images."""
    if not path.is_file():
        raise InputError(f"Proposals {path} do not exist; run the propose stage of {path.parent.name}.")
    again = f"run the propose stage of {path.parent.name} again"
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            names = blocks.names_of(block, list(opened.keys()))
            tensors = {own: opened.get_tensor(name) for name, own in names.items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"Proposals {path} cannot be read ({error}); {again}.") from error
    with reading(path, again):
        short_sides = json.loads(metadata["short_sides"])
        check_parts(tensors, len(short_sides))
        found = Proposals(
            tensors["boxes"], tensors["scores"], tensors["offsets"], tensors["image_ids"].tolist(), short_sides
        )
    missing = [number for number in image_ids if number not in found.rows]
    if missing:
        raise InputError(
            f"Proposals {path} lack image {missing[0]}, one of {len(missing)}: they are of other data; {again}."
        )
    return found


def check_parts(tensors: dict[str, Tensor], resolutions: int) -> None:
    """Raise ValueError where boxes, scores, offsets and images do not belong together."""
    boxes, scores, offsets = tensors["boxes"], tensors["scores"], tensors["offsets"]
    images = tensors["image_ids"].unique()
    if boxes.shape != (len(scores), 4) or not (boxes.isfinite().all() and scores.isfinite().all()):
        raise ValueError(f"boxes {list(boxes.shape)} and scores {list(scores.shape)} must be finite and pair up")
    ends = [offsets[0], offsets[-1], len(offsets), len(tensors["image_ids"])]
    if ends != [0, len(boxes), len(images) * resolutions + 1, len(images)] or (offsets.diff() < 0).any():
        raise ValueError("offsets must divide the boxes among different images and their resolutions")
