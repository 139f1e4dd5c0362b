"""What a training step is fed: regular images, collages or one resolution of a pyramid, as the experiment says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.config import Spec
from pipeline.data import transforms
from pipeline.data.collage import make_collage
from pipeline.data.detection_set import DetectionSet, scaled_masks
from pipeline.data.proposals import scaled_proposals
from pipeline.data.samplers import BatchStream, orientations
from pipeline.models.roi_heads import PositiveLosses
from pipeline.training.feedback import CollageSchedule
from pipeline.training.pyramid import PyramidBatches

Batch = tuple[list[Tensor], list[dict[str, Tensor]], dict[str, Any]]
REGULAR, COLLAGE, PYRAMID = 1, 2, 3  # numbers of the random streams


class Feeder(Protocol):
    """Gives the batch of every step; `state_dict` holds all its state, so a resumed training sees the same images."""

    def batch(self, step: int) -> Batch: ...

    def observe(self, positives: PositiveLosses | None, targets: list[dict[str, Tensor]]) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def build_feeder(spec: Spec, data: DetectionSet, steps: int) -> Feeder:
    """Return the feeder that an experiment's method asks for."""
    if spec.experiment.method.collage is not None:
        return CollageFeeder(spec, data, steps)
    if spec.experiment.pyramid:
        return PlainFeeder(PyramidBatches(spec, data, steps), spec, steps)
    return PlainFeeder(RegularBatches(spec, data, spec.batch, REGULAR), spec, steps)


class RegularBatches(Dataset):
    """Batch number i: resized, flipped images of a stream of its own; a pure function of seed and i."""

    def __init__(self, spec: Spec, data: DetectionSet, batch: int, stream: int) -> None:
        self.spec, self.data, self.number = spec, data, stream
        sizes = [data.size(row) for row in range(len(data))]
        self.stream = BatchStream(orientations(sizes), batch, spec.seed * 8 + stream)

    def __getitem__(self, index: int) -> Batch:
        """Return images [3, H, W] in 0-1 and targets with `boxes` [n, 4] and `labels` [n], in network-input pixels.

        Targets also hold `masks` [n, H, W], uint8, and `proposals` [P, 4] where the data set has them.
        """
        random = transforms.generator(self.spec.seed, self.number, index)
        samples = [self.sample(row, random) for row in self.stream.batch(index)]
        return [image for image, _ in samples], [target for _, target in samples], {}

    def sample(self, row: int, random: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return one augmented image with its target."""
        recipe, factor = self.spec.recipe, self.spec.preset.factor
        short = recipe.short_side
        choices = self.spec.experiment.method.short_sides
        if choices:
            short = choices[int(torch.randint(len(choices), (1,), generator=random))]
        long = max(recipe.long_side, recipe.long_side * short / recipe.short_side)
        image, boxes = load_scaled(self.data, row, short * factor, long * factor)
        regions = scaled_proposals(self.data, row, short, image.shape[-2:])
        flipped = float(torch.rand(1, generator=random)) < recipe.flip
        masks = scaled_masks(self.data, row, image.shape[-2:], flipped=flipped)
        if flipped:
            image, boxes = transforms.flip(image, boxes)
            regions = {name: transforms.flip_boxes(part, image.shape[-1]) for name, part in regions.items()}
        return image, {"boxes": boxes, "labels": self.data.labels[row], **masks, **regions}


def load_scaled(data: DetectionSet, row: int, short: float, long: float) -> tuple[Tensor, Tensor]:
    """Return image `row` and its boxes at a network-input size (short and long side in pixels)."""
    old = data.size(row)
    new = transforms.scaled_size(*old, transforms.fitting_scale(*old, short, long))
    return transforms.resize(data.image(row), new), transforms.resize_boxes(data.boxes[row], old, new)


class PlainFeeder:
    """One stream of batches."""

    def __init__(self, batches: Dataset, spec: Spec, steps: int) -> None:
        self.batches, self.workers, self.steps = batches, spec.preset.training.workers, steps
        self._loader: Iterator[Batch] | None = None

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; steps are asked for in order."""
        if self._loader is None:
            self._loader = loader(self.batches, step, self.steps, self.workers)
        return next(self._loader)

    def observe(self, positives: PositiveLosses | None, targets: list[dict[str, Tensor]]) -> None:
        """Nothing feeds back."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class CollageFeeder:
    """Two streams, of which the feedback on the last step picks one (DST, section 3.2; official code).

    The streams advance apart, and a collage step consumes `components` times a batch of new images, so a DST run has
    its baseline's number of steps.
    """

    def __init__(self, spec: Spec, data: DetectionSet, steps: int) -> None:
        options = spec.experiment.method.collage
        self.options, self.steps, self.workers = options, steps, spec.preset.training.workers
        self.regular = RegularBatches(spec, data, spec.batch, REGULAR)
        self.sources = CollageBatches(
            RegularBatches(spec, data, spec.batch * options.components, COLLAGE), options.components, spec
        )
        self.schedule = CollageSchedule(options, spec.seed, (32 * spec.preset.factor) ** 2)
        self.used = {"regular": 0, "collage": 0}
        self._loaders: dict[str, Iterator[Batch]] = {}

    def batch(self, step: int) -> Batch:
        """Return regular images or collages, as the schedule says for this step."""
        name = "collage" if self.schedule.collage(step) else "regular"
        if name not in self._loaders:
            source = self.sources if name == "collage" else self.regular
            self._loaders[name] = loader(source, self.used[name], self.steps, self.workers)
        self.used[name] += 1
        images, targets, info = next(self._loaders[name])
        return images, targets, {**info, "collage": name == "collage"}

    def observe(self, positives: PositiveLosses | None, targets: list[dict[str, Tensor]]) -> None:
        """Feed the losses and objects of the step just done back to the schedule.

        A step with an image that has no object leaves the decision as it was (official code).
        """
        if not all(len(target["boxes"]) for target in targets):
            return
        areas = torch.cat([transforms.areas(target["boxes"]) for target in targets])
        self.schedule.observe(positives, areas)

    def state_dict(self) -> dict[str, Any]:
        return {"schedule": self.schedule.state_dict(), "used": dict(self.used)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.schedule.load_state_dict(state["schedule"])
        self.used = dict(state["used"])


class CollageBatches(Dataset):
    """Batches of collages, k consecutive images of a source batch in each."""

    def __init__(self, source: RegularBatches, components: int, spec: Spec) -> None:
        self.source, self.components, self.options = source, components, spec.experiment.method.collage
        self.min_area = self.options.min_area * spec.preset.factor**2

    def __getitem__(self, index: int) -> Batch:
        """Return collages of one canvas: the largest height and width of all source images of the batch."""
        images, targets, _ = self.source[index]
        divisor = 32
        canvas = tuple(-(-max(side) // divisor) * divisor for side in zip(*(i.shape[-2:] for i in images), strict=True))
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
        return [image for image, _ in collages], [target for _, target in collages], {}


def loader(batches: Dataset, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """Iterate over batches number `start` to `stop` of a stream, prefetched by `workers` processes."""
    numbers = range(start, max(stop, start + 1))
    # A generator of its own: starting a loader draws a number, which a resumed run would do at another step.
    own = torch.Generator()
    return iter(DataLoader(batches, batch_size=None, sampler=numbers, num_workers=workers, generator=own))
