"""How many chips cover the small objects of an image, in SNIP's and in SNIPER's way, from a data set's labels."""

from typing import Literal, NamedTuple

import numpy as np
import torch

from pipeline.data import transforms
from pipeline.data.chips import grid_chips, inside, sample_chips
from pipeline.data.labelled.sets import LabelSet


class ChipCounts(NamedTuple):
    """Chips of every image that has an object in range, and the number of such objects in no chip."""

    chips: np.ndarray  # [images]
    objects: int
    uncovered: int


def count_chips(
    labels: LabelSet,
    kind: Literal["sampled", "grid"],
    seed: int,
    largest: float = 80.0,
    sides: tuple[int, int] = (1400, 2000),
    chip_size: int = 1000,
    stride: int = 56,
) -> ChipCounts:
    """Count the chips of each image that has an object with sqrt(w h) in [0, largest].

    Args:
        labels: the data set.
        kind: "sampled" takes the best of 50 random chips repeatedly (SNIP, section 6.2); "grid" is a greedy cover by a
            grid's chips (SNIPER).
        seed: of all draws.
        largest: upper end of the valid range, in image pixels.
        sides: short side and longest side that images are resized to.
        chip_size: side of a chip.
        stride: of the grid.
    """
    small = np.flatnonzero(np.sqrt(labels.box_areas) <= largest)
    small = small[np.argsort(labels.rows[small], kind="stable")]
    images, starts = np.unique(labels.rows[small], return_index=True)
    counts, uncovered = np.zeros(len(images), dtype=int), 0
    for place, (row, objects) in enumerate(zip(images, np.split(small, starts)[1:], strict=True)):
        old = tuple(int(side) for side in labels.sizes[row])
        new = transforms.scaled_size(*old, transforms.fitting_scale(*old, *sides))
        x, y, w, h = torch.from_numpy(labels.boxes[objects]).unbind(1)
        boxes = transforms.resize_boxes(torch.stack([x, y, x + w, y + h], dim=1), old, new)
        random = transforms.generator(seed, int(row))
        if kind == "sampled":
            chips = sample_chips(boxes, new, chip_size, random)
        else:
            chips = grid_chips(boxes, new, chip_size, stride, random)
        counts[place] = len(chips)
        held = inside(boxes.clamp(min=0).minimum(boxes.new_tensor(new).flip(0).repeat(2)), chips.double())
        uncovered += int((~held.any(dim=0)).sum()) if len(chips) else len(boxes)
    return ChipCounts(counts, len(small), uncovered)
