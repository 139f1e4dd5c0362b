"""What an image pyramid trains on: the images or chips of every resolution, with and without valid ranges."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pipeline.data import transforms
from pipeline.data.chips import assign_to_chips, grid_chips, sample_chips
from pipeline.options import PyramidLevel
from pipeline.spec import Spec
from pipeline.training.scale_ranges import valid_objects

OPEN = (0.0, None)  # the range that every object fits


class Boxes(Protocol):
    """The sizes (height, width) and boxes [n, 4] of images in file pixels, which is all that units depend on."""

    boxes: list[Tensor]

    def __len__(self) -> int: ...

    def size(self, row: int) -> tuple[int, int]: ...


class Unit(NamedTuple):
    """One training input at one resolution: an image, or a chip of it in network-input pixels."""

    row: int
    window: tuple[int, int, int, int] | None
    objects: tuple[int, ...] | None = None  # the image's objects that this chip trains on; None: all that it contains


def find_units(spec: Spec, data: Boxes, snip: bool) -> list[list[Unit]]:
    """Return the units of an epoch at every resolution; with `snip`, those of images that have a valid object there.

    Only valid ranges bring chips: without them, images are whole, and all are at every resolution (SNIP, section 7.1).
    """
    levels: list[list[Unit]] = []
    for number, level in enumerate(spec.experiment.pyramid):
        levels.append(found := [])
        for row in range(len(data)):
            head, proposal = valid_flags(spec, data, row, level, snip)
            fits = head | proposal
            if not snip:
                found.append(Unit(row, None))
            elif fits.any():
                found += units_of(spec, data, row, number, fits)
    return levels


def valid_flags(spec: Spec, data: Boxes, row: int, level: PyramidLevel, snip: bool) -> tuple[Tensor, Tensor]:
    """Return which objects of an image are valid at a level, for the RoI head and for the RPN: bool [n] each.

    Where only one of these is trained, its range counts for both. Without `snip`, all are valid.
    """
    sizes = transforms.sides(data.boxes[row]) / spec.preset.pixel_factor
    if not snip:
        return valid_objects(sizes, OPEN), valid_objects(sizes, OPEN)
    head, proposal = valid_objects(sizes, level.head_range), valid_objects(sizes, level.proposal_range)
    detector = spec.experiment.detector
    if detector in ("d_rfcn_rcn", "retinanet", "fcos", "reppoints"):
        return head, head
    return (proposal, proposal) if detector == "d_rfcn_rpn" else (head, proposal)


def level_size(spec: Spec, data: Boxes, row: int, level: PyramidLevel) -> tuple[int, int]:
    """Return (height, width) of an image at a level, in network-input pixels."""
    factor, old = spec.preset.factor, data.size(row)
    scale = transforms.fitting_scale(*old, level.short_side * factor, level.long_side * factor)
    return transforms.scaled_size(*old, scale)


def units_of(spec: Spec, data: Boxes, row: int, number: int, fits: Tensor) -> list[Unit]:
    """Return an image's chips at level `number`, or the whole image; chips cover the objects that `fits` [n] tells."""
    level = spec.experiment.pyramid[number]
    if level.chip_size is None:
        return [Unit(row, None)]
    size = level_size(spec, data, row, level)
    boxes = transforms.resize_boxes(data.boxes[row], data.size(row), size)
    random = transforms.generator(spec.seed, 6, number, row)
    factor = spec.preset.factor
    chip = round(level.chip_size * factor)
    if level.chips == "sampled":
        return [Unit(row, window) for window in whole_pixels(sample_chips(boxes[fits], size, chip, random))]
    low, high = level.chip_stride
    stride = int(torch.randint(low, high + 1, (1,), generator=random))
    chips = grid_chips(boxes[fits], size, chip, max(1, round(stride * factor)), random)
    owner = assign_to_chips(boxes, chips)
    windows = whole_pixels(chips)
    return [Unit(row, window, tuple(torch.where(owner == c)[0].tolist())) for c, window in enumerate(windows)]


def whole_pixels(chips: Tensor) -> list[tuple[int, int, int, int]]:
    """Return chips [c, 4], rounded to whole pixels, as tuples of integers."""
    return [tuple(int(side) for side in window) for window in chips.tolist()]
