"""Batches of an image pyramid: a batch has one resolution, and an object trains only where its size fits."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.data import transforms
from pipeline.data.detection_set import DetectionSet, origins, scaled_masks
from pipeline.data.proposals import scaled_proposals
from pipeline.data.samplers import BatchStream, orientations
from pipeline.errors import InputError
from pipeline.options import PyramidLevel
from pipeline.spec import Spec
from pipeline.training.distributed import ALONE, World
from pipeline.training.epochs import Units
from pipeline.training.pyramid_units import OPEN, Boxes, Unit, find_units, level_size, valid_flags

WHOLE = 1 - 1e-4  # visible share from which a box counts as uncut: 1 up to rounding


class PyramidBatches(Dataset):
    """Batches of a pyramid (SNIP, sections 6.1, 6.2 and 7.1); batch i is a pure function of seed and i.

    Before batch `ranges_from`, and always where that is None, every object of every whole image is valid everywhere,
    which is multi-scale training. From there on, a resolution's epoch is of the chips or images with a valid object.
    """

    def __init__(self, spec: Spec, data: DetectionSet, ranges_from: int | None, world: World = ALONE) -> None:
        self.spec, self.data, self.world, self.ranges_from = spec, data, world, ranges_from
        self._phase = lru_cache(maxsize=2)(self._prepare)

    def __getitem__(self, index: int) -> tuple[list[Tensor], list[dict[str, Tensor]], dict[str, Any]]:
        """Return images, targets and facts: `resolution`, `snip` (whether ranges apply), `valid` (share, or None).

        Targets have `boxes`, `labels`, `valid_head` [n] and `valid_proposal` [n] (bool), and `head_range` [2] in
        network-input pixels (infinity where open). Where the data set has them, they also have `masks` [n, H, W]
        (uint8) and `proposals` [P, 4].
        """
        snip = self.ranges_from is not None and index >= self.ranges_from
        units, streams, order = self._phase(snip)
        level_number, position = order(index - self.ranges_from if snip else index)
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
        new = level_size(self.spec, data, row, level)
        image = transforms.resize(data.image(row), new)
        boxes, labels = transforms.resize_boxes(data.boxes[row], old, new), data.labels[row]
        regions = scaled_proposals(data, row, level.short_side, new)
        head, proposal = valid_flags(self.spec, data, row, level, snip)
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

    def _prepare(self, snip: bool) -> tuple[list[list[Unit]], list[BatchStream | None], Any]:
        """Return every level's units and batch stream, and a function from a batch's number to its level and place."""
        units = find_units(self.spec, self.data, snip)
        streams: list[BatchStream | None] = []
        for number, (level, found) in enumerate(zip(self.spec.experiment.pyramid, units, strict=True)):
            sizes = [
                (unit.window[3] - unit.window[1], unit.window[2] - unit.window[0])
                if unit.window
                else level_size(self.spec, self.data, unit.row, level)
                for unit in found
            ]
            seed = (self.spec.seed * 8 + 4 + int(snip)) * 16 + number
            streams.append(BatchStream(orientations(sizes), self.spec.batch, seed) if found else None)
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


def whole_boxes(image: Tensor, boxes: Tensor, window: tuple[int, int, int, int]) -> Tensor:
    """Return the boxes [n, 4] entirely inside a window of an image, in its pixels: cut regions are not classified."""
    _, clipped, visible = transforms.crop(image, boxes, window)
    return clipped[visible > WHOLE]


def count_units(spec: Spec, data: Boxes) -> Units:
    """Return how many network inputs an image gives an epoch on average, by resolution (SNIP, section 7.1)."""
    phases = (False,) if spec.experiment.method.snip is None else (False, True)
    return Units(*(tuple(len(level) / len(data) for level in find_units(spec, data, snip)) for snip in phases))
