"""The input of a training step: regular images, collages or one resolution of a pyramid, as the experiment says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.config import Spec
from pipeline.data import transforms
from pipeline.data.collage import canvas_of, make_collage
from pipeline.data.detection_set import DetectionSet, origins, scaled_masks
from pipeline.data.proposals import scaled_proposals
from pipeline.data.samplers import BatchStream, orientations
from pipeline.models.heads.roi_heads import PositiveLosses
from pipeline.training.distributed import ALONE, World
from pipeline.training.feedback import CollageSchedule
from pipeline.training.pyramid import PyramidBatches

Batch = tuple[list[Tensor], list[dict[str, Tensor]], dict[str, Any]]
REGULAR, COLLAGE, PYRAMID = 1, 2, 3  # numbers of the random streams


class Feeder(Protocol):
    """Gives this process's part of every batch; `state_dict` is its whole state, so a resumed training sees the same.

    Batches are numbered over all steps: if a step accumulates a batches, step s has batches s * a to s * a + a - 1.
    """

    def batch(self, number: int) -> Batch: ...

    def observe(
        self, positives: PositiveLosses | None, targets: list[dict[str, Tensor]], last: bool = True
    ) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def build_feeder(spec: Spec, data: DetectionSet, steps: int, world: World = ALONE) -> Feeder:
    """Return the feeder of an experiment's method.

    Args:
        spec: the resolved experiment.
        data: its training images.
        steps: optimiser steps of the training.
        world: the processes that share every batch.

    Raises:
        InputError: the processes cannot share a batch.
    """
    world.share(range(spec.batch))
    if spec.experiment.method.collage is not None:
        return CollageFeeder(spec, data, steps, world)
    numbers = steps * spec.preset.training.accumulate
    if spec.experiment.pyramid:
        return PlainFeeder(PyramidBatches(spec, data, numbers, world), spec, numbers)
    return PlainFeeder(RegularBatches(spec, data, spec.batch, REGULAR, world), spec, numbers)


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
        """Return an image's short side, and the most that its long side may be, in network-input pixels."""
        recipe, factor = self.spec.recipe, self.spec.preset.factor
        long = max(recipe.long_side, recipe.long_side * look.short / recipe.short_side)
        return look.short * factor, long * factor

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


def fitting_size(data: DetectionSet, row: int, short: float, long: float) -> tuple[int, int]:
    """Return (height, width) of image `row` at a network-input size (short and long side in pixels)."""
    old = data.size(row)
    return transforms.scaled_size(*old, transforms.fitting_scale(*old, short, long))


def load_scaled(data: DetectionSet, row: int, short: float, long: float) -> tuple[Tensor, Tensor]:
    """Return image `row` and its boxes at a network-input size (short and long side in pixels)."""
    old, new = data.size(row), fitting_size(data, row, short, long)
    return transforms.resize(data.image(row), new), transforms.resize_boxes(data.boxes[row], old, new)


class PlainFeeder:
    """One stream of batches, `numbers` of them."""

    def __init__(self, batches: Dataset, spec: Spec, numbers: int) -> None:
        self.batches, self.workers, self.numbers = batches, spec.preset.training.workers, numbers
        self._loader: Iterator[Batch] | None = None

    def batch(self, number: int) -> Batch:
        """Return the next batch; batches are asked for in order."""
        if self._loader is None:
            self._loader = loader(self.batches, number, self.numbers, self.workers)
        return next(self._loader)

    def observe(self, positives: PositiveLosses | None, targets: list[dict[str, Tensor]], last: bool = True) -> None:
        """Nothing feeds back."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class CollageFeeder:
    """Two streams of batches; the feedback on the last step picks one (DST, section 3.2; official code).

    The streams advance independently, and a collage batch takes `components` batches of new images, so a DST run has as
    many steps as its baseline. All batches of an optimiser step are of one kind.

    Each process decides and advances alone, unless `CollageOptions.reduce` is set.
    """

    def __init__(self, spec: Spec, data: DetectionSet, steps: int, world: World = ALONE) -> None:
        options = spec.experiment.method.collage
        self.options, self.workers = options, spec.preset.training.workers
        self.accumulate = spec.preset.training.accumulate
        self.numbers = steps * self.accumulate
        self.regular = RegularBatches(spec, data, spec.batch, REGULAR, world)
        self.sources = CollageBatches(
            RegularBatches(spec, data, spec.batch * options.components, COLLAGE, world), options.components, spec
        )
        self.schedule = CollageSchedule(options, spec.seed, (32 * spec.preset.factor) ** 2, world)
        self.used = {"regular": 0, "collage": 0}
        self._loaders: dict[str, Iterator[Batch]] = {}

    def batch(self, number: int) -> Batch:
        """Return regular images or collages, as the schedule says for this batch's optimiser step."""
        name = "collage" if self.schedule.collage(number // self.accumulate) else "regular"
        if name not in self._loaders:
            source = self.sources if name == "collage" else self.regular
            self._loaders[name] = loader(source, self.used[name], self.numbers, self.workers)
        self.used[name] += 1
        images, targets, info = next(self._loaders[name])
        return images, targets, {**info, "collage": name == "collage"}

    def observe(self, positives: PositiveLosses | None, targets: list[dict[str, Tensor]], last: bool = True) -> None:
        """Feed the losses and objects of a batch back to the schedule; the `last` batch ends a step."""
        self.schedule.observe(positives, [transforms.areas(target["boxes"]) for target in targets], last)

    def state_dict(self) -> dict[str, Any]:
        return {"schedule": self.schedule.state_dict(), "used": dict(self.used)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.schedule.load_state_dict(state["schedule"])
        self.used = dict(state["used"])


class CollageBatches(Dataset):
    """Batches of collages, each of k consecutive images of a source batch.

    Differs from the authors' code: the canvas fits the images of all processes instead of one, so that collages do not
    depend on the number of processes.
    """

    def __init__(self, source: RegularBatches, components: int, spec: Spec) -> None:
        self.source, self.components, self.options = source, components, spec.experiment.method.collage
        self.min_area = self.options.min_area * spec.preset.factor**2
        self.divisor = spec.preset.model.pad_divisor  # a collage is padded no further than a regular batch

    def __getitem__(self, index: int) -> Batch:
        """Return collages on a canvas of the largest height and width of all source images of the batch."""
        looks = self.source.looks(index)
        canvas = canvas_of([self.source.size(look) for look in looks], self.divisor)
        groups = [looks[start : start + self.components] for start in range(0, len(looks), self.components)]
        images, targets, info = self.source.load([look for group in self.source.world.share(groups) for look in group])
        collages = [
            make_collage(
                images[start : start + self.components],
                targets[start : start + self.components],
                k=self.components,
                canvas_size=canvas,
                interpolation=self.options.interpolation,
                keep_aspect=self.options.keep_aspect,
                min_area=self.min_area,
            )
            for start in range(0, len(images), self.components)
        ]
        return [image for image, _ in collages], [target for _, target in collages], info


def loader(batches: Dataset, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """Iterate over batches `start` to `stop` (excluded) of a stream, prefetched by `workers` processes.

    The workers live as long as the iterator. With a GPU, batches are in pinned memory, which it copies by itself.
    """
    numbers = range(start, max(stop, start + 1))
    # A separate generator: a loader draws a number when it starts, which in a resumed run is another step.
    own = torch.Generator()
    pinned = torch.cuda.is_available()
    return iter(
        DataLoader(batches, batch_size=None, sampler=numbers, num_workers=workers, generator=own, pin_memory=pinned)
    )
