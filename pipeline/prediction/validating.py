"""AP on the validation images while a detector trains, every few epochs; it decides nothing of the training."""

from __future__ import annotations

import torch
from torch import nn

from pipeline.data.detection_set import DetectionSet
from pipeline.data.manifest import load_split
from pipeline.evaluation.coco import evaluate_detections
from pipeline.evaluation.protocol import scaled_area_ranges
from pipeline.evaluation.scoring import evaluated_part
from pipeline.options import Test
from pipeline.prediction.detector import coco_results, detect_each
from pipeline.spec import Spec, coco_epochs
from pipeline.training.distributed import World
from pipeline.training.inputs import give_proposals

METRICS = ("ap", "ap50", "ap_small")
COLUMNS = tuple(f"val_{name}" for name in METRICS)


class Validation:
    """Called after every step: detects at the papers' one resolution where epochs are due, each process in its share.

    Args:
        spec: the resolved experiment; its preset's `validate_epochs` are the epochs between two validations.
        model: the detector in training, which is left in that mode.
        steps: of the training. Its last step is followed by a validation, too.
    """

    def __init__(
        self, spec: Spec, model: nn.Module, steps: int, precision: str, device: torch.device, world: World
    ) -> None:
        self.spec, self.model, self.steps, self.world = spec, model, steps, world
        self.precision, self.device = precision, device
        epochs = coco_epochs(spec.recipe) * spec.experiment.length
        self.every = max(1, round(spec.preset.training.validate_epochs * steps / epochs))
        self.truth = evaluated_part(load_split(spec.manifest, "val"), spec.data.limit_val)
        self.data = DetectionSet(self.truth | {"images": self.truth["images"][world.rank :: world.size]})
        give_proposals(self.data, spec, "val")

    def __call__(self, step: int) -> dict[str, float | None]:
        """Return AP, AP50 and small objects' AP after `step` steps, nothing between two validations."""
        if step % self.every and step != self.steps:
            return {}
        options, preset = Test(), self.spec.preset
        sides = options.short_sides[0], options.long_sides[0]
        title = f"{self.spec.name} after step {step}"
        self.model.eval()
        found = detect_each(self.model, self.data, preset, *sides, self.precision, self.device, title)
        self.model.train()
        own = [
            result
            for row, entry in enumerate(self.data.entries)
            for result in coco_results(entry["id"], found[row], self.data.size(row))
        ]
        results = [result for part in self.world.gathered(own) for result in part]
        if not self.world.main:
            return {}
        numbers = evaluate_detections(self.truth, results, area_ranges=scaled_area_ranges(preset.pixel_factor))
        return {f"val_{name}": numbers[name] for name in METRICS}
