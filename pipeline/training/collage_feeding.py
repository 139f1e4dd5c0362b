"""What dynamic scale training is fed: regular images or collages, as the feedback on the last step says (DST)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from pipeline.data import transforms
from pipeline.data.collage import canvas_of, make_collage
from pipeline.data.detection_set import DetectionSet
from pipeline.models.heads.roi_heads import PositiveLosses
from pipeline.spec import Spec
from pipeline.training.distributed import ALONE, World
from pipeline.training.feedback import CollageSchedule
from pipeline.training.feeding import COLLAGE, REGULAR, Batch, Feeder, RegularBatches, loader


class CollageFeeder(Feeder):
    """Two streams of batches; the feedback on the last step picks one (DST, section 3.2.1; official code).

    The streams advance independently, and a collage batch takes `components` batches of new images, so a DST run has as
    many steps as its baseline. All batches of an optimiser step are of one kind.

    Each process decides and advances alone, unless `CollageOptions.reduce` is set.
    """

    def __init__(self, spec: Spec, data: DetectionSet, steps: int, world: World = ALONE) -> None:
        options = spec.experiment.method.collage
        self.options = options
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
            # The last step's losses decide, too late to begin with a batch: workers make both forms ahead of need.
            for kind in (name,) if self.options.feedback in ("always", "never") else ("regular", "collage"):
                source = self.sources if kind == "collage" else self.regular
                self._loaders[kind] = loader(source, self.used[kind], self.numbers)
        self.used[name] += 1
        images, targets, info = next(self._loaders[name])
        return images, targets, {**info, "collage": name == "collage"}

    def observe(
        self,
        positives: PositiveLosses | None,
        targets: list[dict[str, Tensor]],
        last: bool = True,
        regression: Tensor | None = None,
    ) -> None:
        """Feed the losses and objects of a batch back to the schedule.

        Args:
            positives: losses of the batch's positives.
            targets: its objects.
            last: whether the batch ends a step.
            regression: sums of small objects' regression loss and of all, [2], where they are known already.
        """
        self.schedule.observe(positives, [transforms.areas(target["boxes"]) for target in targets], last, regression)

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
