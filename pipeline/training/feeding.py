"""The input of a training step: regular images, collages or one resolution of a pyramid, as the experiment says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.data import transforms
from pipeline.data.detection_set import DetectionSet, fitting_size, load_scaled, origins, scaled_masks
from pipeline.data.proposals import scaled_proposals
from pipeline.data.samplers import BatchStream, orientations
from pipeline.models.heads.roi_heads import PositiveLosses
from pipeline.parts import load
from pipeline.spec import Spec
from pipeline.training.distributed import ALONE, World
from pipeline.training.loading import prefetched

Batch = tuple[list[Tensor], list[dict[str, Tensor]], dict[str, Any]]
REGULAR, COLLAGE, PYRAMID = 1, 2, 3  # numbers of the random streams


class Feeder:
    """Gives this process's part of every batch; `state_dict` is its whole state, so a resumed training sees the same.

    Batches are numbered over all steps: if a step accumulates a batches, step s has batches s * a to s * a + a - 1.
    """

    def batch(self, number: int) -> Batch:
        """Return a batch; batches are asked for in order."""
        raise NotImplementedError

    def observe(
        self,
        positives: PositiveLosses | None,
        targets: list[dict[str, Tensor]],
        last: bool = True,
        regression: Tensor | None = None,
    ) -> None:
        """Take in the losses and objects of a batch; nothing feeds back unless a feeder says what."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state."""


def build_feeder(
    spec: Spec, data: DetectionSet, steps: int, world: World = ALONE, ranges_from: int | None = None
) -> Feeder:
    """Return the feeder of an experiment's method.

    Args:
        spec: the resolved experiment.
        data: its training images.
        steps: optimiser steps of the training.
        world: the processes that share every batch.
        ranges_from: first step in which a pyramid's valid ranges apply, None where they never do.

    Raises:
        InputError: the processes cannot share a batch.
    """
    world.share(range(spec.batch))
    if spec.experiment.method.collage is not None:
        return load("collage").CollageFeeder(spec, data, steps, world)
    accumulate = spec.preset.training.accumulate  # all batches of an optimiser step are of one phase
    numbers = steps * accumulate
    if spec.experiment.pyramid:
        first = None if ranges_from is None else ranges_from * accumulate
        return PlainFeeder(load("pyramid").PyramidBatches(spec, data, first, world), numbers)
    return PlainFeeder(RegularBatches(spec, data, spec.batch, REGULAR, world), numbers)


class Look(NamedTuple):
    """How an image is augmented."""

    row: int
    short: float  # side, on the papers' 800-pixel scale
    flipped: bool


class RegularBatches(Dataset):
    """Batches of resized and flipped images from one stream; batch i is a pure function of seed and i.

    Every process draws the augmentation of the whole batch, so that it does not depend on the number of processes.
    """

    def __init__(self, spec: Spec, data: DetectionSet, batch: int, stream: int, world: World = ALONE) -> None:
        self.spec, self.data, self.number, self.world = spec, data, stream, world
        sizes = [data.size(row) for row in range(len(data))]
        self.stream = BatchStream(orientations(sizes), batch, spec.seed * 8 + stream)

    def __getitem__(self, index: int) -> Batch:
        """Return images, targets and facts (`image_ids`, `file_names`) of a batch.

        Images are [3, H, W] in 0-1. Targets have `boxes` [n, 4] in network-input pixels, `labels` [n] and, where the
        data set has them, `masks` [n, H, W] (uint8) and `proposals` [P, 4].
        """
        return self.load(self.world.share(self.looks(index)))

    def looks(self, index: int) -> list[Look]:
        """Return how the images of batch `index` are augmented in all processes."""
        random = transforms.generator(self.spec.seed, self.number, index)
        choices, looks = self.spec.experiment.method.short_sides, []
        for row in self.stream.batch(index):
            short = self.spec.recipe.short_side
            if choices:
                short = choices[int(torch.randint(len(choices), (1,), generator=random))]
            looks.append(Look(row, short, float(torch.rand(1, generator=random)) < self.spec.recipe.flip))
        return looks

    def load(self, looks: list[Look]) -> Batch:
        """Return a batch of these images."""
        samples = [self.sample(look) for look in looks]
        return (
            [image for image, _ in samples],
            [target for _, target in samples],
            origins(self.data, [look.row for look in looks]),
        )

    def limits(self, look: Look) -> tuple[float, float]:
        """Return an image's short side, and the most that its long side may be, in network-input pixels.

        The limit is the recipe's whatever side is drawn, as in the `Resize` of maskrcnn-benchmark and MMDetection.
        """
        factor = self.spec.preset.factor
        return look.short * factor, self.spec.recipe.long_side * factor

    def size(self, look: Look) -> tuple[int, int]:
        """Return (height, width) of an image as the network sees it."""
        return fitting_size(self.data, look.row, *self.limits(look))

    def sample(self, look: Look) -> tuple[Tensor, dict[str, Tensor]]:
        """Return one augmented image with its target."""
        row = look.row
        image, boxes = load_scaled(self.data, row, *self.limits(look))
        regions = scaled_proposals(self.data, row, look.short, image.shape[-2:])
        masks = scaled_masks(self.data, row, image.shape[-2:], flipped=look.flipped)
        if look.flipped:
            image, boxes = transforms.flip(image, boxes)
            regions = {name: transforms.flip_boxes(part, image.shape[-1]) for name, part in regions.items()}
        return image, {"boxes": boxes, "labels": self.data.labels[row], **masks, **regions}


class PlainFeeder(Feeder):
    """One stream of batches, `numbers` of them."""

    def __init__(self, batches: Dataset, numbers: int) -> None:
        self.batches, self.numbers = batches, numbers
        self._loader: Iterator[Batch] | None = None

    def batch(self, number: int) -> Batch:
        """Return the next batch."""
        if self._loader is None:
            self._loader = loader(self.batches, number, self.numbers)
        return next(self._loader)


def loader(batches: Dataset, start: int, stop: int) -> Iterator[Batch]:
    """Iterate over batches number `start` to `stop` of a stream."""
    return prefetched(batches, range(start, max(stop, start + 1)))
