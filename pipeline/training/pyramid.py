"""Batches of an image pyramid: a batch has one resolution, and an object trains only where its size fits."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.config import Spec
from pipeline.data import transforms
from pipeline.data.chips import assign_to_chips, grid_chips, sample_chips
from pipeline.data.detection_set import DetectionSet, origins, scaled_masks
from pipeline.data.proposals import scaled_proposals
from pipeline.data.samplers import BatchStream, orientations
from pipeline.errors import InputError
from pipeline.options import PyramidLevel
from pipeline.training.distributed import ALONE, World
from pipeline.training.scale_ranges import valid_objects

OPEN = (0.0, None)  # the range that every object fits
WHOLE = 1 - 1e-4  # visible share from which a box counts as uncut: 1 up to rounding


class Unit(NamedTuple):
    """One training input at one resolution: an image, or a chip of it in network-input pixels."""

    row: int
    window: tuple[int, int, int, int] | None
    objects: tuple[int, ...] | None = None  # the image's objects that this chip trains on; None: all that it contains


class PyramidBatches(Dataset):
    """Batches of a pyramid (SNIP, sections 5.2 and 5.3); batch i is a pure function of seed and i.

    A resolution's epoch leaves out images without a valid object. Before the share `starts_after` of the schedule, and
    always without `snip` in the method, every object is valid everywhere, which is multi-scale training.
    """

    def __init__(self, spec: Spec, data: DetectionSet, steps: int, world: World = ALONE) -> None:
        self.spec, self.data, self.world = spec, data, world
        snip = spec.experiment.method.snip
        # `steps` counts batches; all batches that an optimiser step accumulates are of one phase.
        several = spec.preset.training.accumulate
        self.first_snip_step = steps if snip is None else round(steps // several * snip.starts_after) * several
        self._phase = lru_cache(maxsize=2)(self._prepare)

    def __getitem__(self, index: int) -> tuple[list[Tensor], list[dict[str, Tensor]], dict[str, Any]]:
        """Return images, targets and facts: `resolution`, `snip` (whether ranges apply), `valid` (share, or None).

        Targets have `boxes`, `labels`, `valid_head` [n] and `valid_proposal` [n] (bool), and `head_range` [2] in
        network-input pixels (infinity where open). Where the data set has them, they also have `masks` [n, H, W]
        (uint8) and `proposals` [P, 4].
        """
        snip = index >= self.first_snip_step
        units, streams, order = self._phase(snip)
        level_number, position = order(index - self.first_snip_step if snip else index)
        level = self.spec.experiment.pyramid[level_number]
        random = transforms.generator(self.spec.seed, 3, index)
        rows = streams[level_number].batch(position)
        # Every process draws the whole batch's flips, so that they do not depend on the number of processes.
        flips = [float(torch.rand(1, generator=random)) < self.spec.recipe.flip for _ in rows]
        own = self.world.share(list(zip((units[level_number][row] for row in rows), flips, strict=True)))
        samples = [self.sample(unit, level, snip, flipped) for unit, flipped in own]
        targets = [target for _, target in samples]
        flags = torch.cat([target["valid_head"] for target in targets])
        share = flags.float().mean().item() if len(flags) else None
        info = {"resolution": level.short_side, "snip": snip, "valid": share}
        info |= origins(self.data, [unit.row for unit, _ in own])
        return [image for image, _ in samples], targets, info

    def sample(self, unit: Unit, level: PyramidLevel, snip: bool, flipped: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Return one image or chip with its target."""
        data, row = self.data, unit.row
        old = data.size(row)
        new = self._size(row, level)
        image = transforms.resize(data.image(row), new)
        boxes, labels = transforms.resize_boxes(data.boxes[row], old, new), data.labels[row]
        regions = scaled_proposals(data, row, level.short_side, new)
        head, proposal = self._valid(row, level, snip)
        seen = torch.ones(len(boxes), dtype=torch.bool)
        if unit.window is not None:
            regions = {name: whole_boxes(image, part, unit.window) for name, part in regions.items()}
            image, boxes, visible = transforms.crop(image, boxes, unit.window)
            seen = visible > 0
            whole = visible > WHOLE
            if unit.objects is not None:
                own = torch.zeros(len(whole), dtype=torch.bool)
                own[list(unit.objects)] = True
                whole &= own
            # A cut object is no example of its scale: its visible part is ignored.
            boxes, labels = boxes[seen], labels[seen]
            head, proposal = (head & whole)[seen], (proposal & whole)[seen]
        masks = {name: part[seen] for name, part in scaled_masks(data, row, new, unit.window, flipped).items()}
        if flipped:
            image, boxes = transforms.flip(image, boxes)
            regions = {name: transforms.flip_boxes(part, image.shape[-1]) for name, part in regions.items()}
        ratio = new[0] / old[0] * self.spec.preset.pixel_factor
        low, high = level.head_range if snip else OPEN
        bounds = torch.tensor([low * ratio, float("inf") if high is None else high * ratio])
        return image, {
            "boxes": boxes,
            "labels": labels,
            "valid_head": head,
            "valid_proposal": proposal,
            "head_range": bounds,
            **masks,
            **regions,
        }

    def _size(self, row: int, level: PyramidLevel) -> tuple[int, int]:
        factor = self.spec.preset.factor
        old = self.data.size(row)
        scale = transforms.fitting_scale(*old, level.short_side * factor, level.long_side * factor)
        return transforms.scaled_size(*old, scale)

    def _valid(self, row: int, level: PyramidLevel, snip: bool) -> tuple[Tensor, Tensor]:
        """Return which objects of an image are valid at a level, for the RoI head and for the RPN.

        Where only one of these is trained, its range counts for both.
        """
        sizes = transforms.sides(self.data.boxes[row]) / self.spec.preset.pixel_factor
        if not snip:
            return valid_objects(sizes, OPEN), valid_objects(sizes, OPEN)
        head, proposal = valid_objects(sizes, level.head_range), valid_objects(sizes, level.proposal_range)
        detector = self.spec.experiment.detector
        if detector in ("d_rfcn_rcn", "retinanet", "fcos", "reppoints"):
            return head, head
        return (proposal, proposal) if detector == "d_rfcn_rpn" else (head, proposal)

    def _prepare(self, snip: bool) -> tuple[list[list[Unit]], list[BatchStream | None], Any]:
        """Return every level's units and batch stream, and a function from a batch's number to its level and place."""
        units: list[list[Unit]] = []
        streams: list[BatchStream | None] = []
        for number, level in enumerate(self.spec.experiment.pyramid):
            found, sizes = [], []
            for row in range(len(self.data)):
                head, proposal = self._valid(row, level, snip)
                fits = head | proposal
                if not fits.any() and snip:
                    continue
                size = self._size(row, level)
                for unit in self._units(row, level, fits, size, number):
                    window = unit.window
                    found.append(unit)
                    sizes.append(size if window is None else (window[3] - window[1], window[2] - window[0]))
            units.append(found)
            seed = self.spec.seed * 8 + 4 + int(snip)
            streams.append(BatchStream(orientations(sizes), self.spec.batch, seed * 16 + number) if found else None)
        counts = [stream.batches_per_epoch if stream else 0 for stream in streams]
        if not sum(counts):
            raise InputError(
                f"{self.spec.name}: none of the {len(self.data)} training images has a valid object at any resolution; "
                "widen the pyramid's ranges or check the preset's factor."
            )
        epochs: dict[int, np.ndarray] = {}

        def order(index: int) -> tuple[int, int]:
            epoch, place = divmod(index, sum(counts))
            if epoch not in epochs:
                random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.spec.seed, 5, snip, epoch])))
                epochs[epoch] = random.permutation(np.repeat(np.arange(len(counts)), counts))
            levels = epochs[epoch]
            level = int(levels[place])
            return level, epoch * counts[level] + int((levels[:place] == level).sum())

        return units, streams, order

    def _units(self, row: int, level: PyramidLevel, fits: Tensor, size: tuple[int, int], number: int) -> list[Unit]:
        """Return an image's chips at a level, or the whole image; chips cover the objects that `fits` [n] tells."""
        if level.chip_size is None:
            return [Unit(row, None)]
        boxes = transforms.resize_boxes(self.data.boxes[row], self.data.size(row), size)
        random = transforms.generator(self.spec.seed, 6, number, row)
        factor = self.spec.preset.factor
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


def whole_boxes(image: Tensor, boxes: Tensor, window: tuple[int, int, int, int]) -> Tensor:
    """Return the boxes [n, 4] entirely inside a window of an image, in its pixels: cut regions are not classified."""
    _, clipped, visible = transforms.crop(image, boxes, window)
    return clipped[visible > WHOLE]
