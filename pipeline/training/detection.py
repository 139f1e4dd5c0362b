"""Train one detector: build and initialise it, apply the method, run the loop, write weights, history and summary."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import paths
from pipeline.data.detection_set import DetectionSet
from pipeline.data.manifest import load_split
from pipeline.models import build_detector
from pipeline.models.batching import check_targets
from pipeline.models.heads.roi_heads import PositiveLosses
from pipeline.models.normaliser import set_normaliser
from pipeline.parts import load, validates
from pipeline.spec import Spec
from pipeline.training.all_blocks import train_blocks
from pipeline.training.checkpoint import Trained, checkpoint_folder, finished, load_init
from pipeline.training.distributed import ALONE, World, joined
from pipeline.training.epochs import Length, Units, training_length
from pipeline.training.feeding import Feeder, build_feeder
from pipeline.training.history import COLUMNS, History
from pipeline.training.inputs import give_proposals, read_inits, read_scales
from pipeline.training.loop import train
from pipeline.training.loss_share import share_sums
from pipeline.training.precision import choose_precision, pick_device, set_threads


def train_detector(spec: Spec) -> None:
    """Train the detector of a specification and write its three outputs (`paths.weights`, `history`, `summary`).

    Processes started by torchrun share every batch, and the first one writes.
    """
    with joined() as world:
        train_blocks(spec, world, paths.weights(spec.preset.name, spec.name), lambda one: train_block(one, world))


def train_block(spec: Spec, world: World) -> Trained:
    """Train one block with all processes of a world, or return it where it is finished."""
    preset = spec.preset
    spec = spec.with_milestones(preset.training.milestones)
    set_threads(preset)
    device = pick_device()
    manifest = spec.manifest
    masks = spec.experiment.has_masks
    data = DetectionSet(load_split(manifest, "train"), spec.data.limit_train, masks)
    if masks:
        load("masks").check_masks(load_split(manifest, "val"))  # they are scored after hours
    regions = give_proposals(data, spec, "train")
    inits, tensors, metadata = read_inits(spec)
    folder = checkpoint_folder(spec, "train", manifest, *inits, *regions)
    done = finished(folder)
    if done is not None:
        return done
    torch.manual_seed(spec.seed)
    model = build_detector(spec, data.classes, read_scales(metadata))
    if spec.recipe.new_layers == "he":
        load("he_start").start_new_layers(model)
    matched, unmatched = load_init(model, tensors)
    if spec.norm == "sync":
        model = world.synchronise_norms(model, device)
    model = model.to(device, memory_format=torch.channels_last)
    if preset.training.compile:
        model.backbone.compile()
    if preset.training.reduce_normaliser and world.size > 1:
        set_normaliser(model, world.normaliser(device))
    if spec.experiment.method.snip is not None:
        load("snip").wire_snip(model, spec.experiment.method.snip.ignore_iou)

    pyramid = spec.experiment.pyramid
    units = load("pyramid").count_units(spec, data) if pyramid else Units()
    length = training_length(spec, len(data), units)
    feeder = build_feeder(spec, data, length.steps, world, length.ranges_from)
    precision = world.agreed(choose_precision(preset, device))
    validation, columns = None, COLUMNS
    if validates(spec):
        part = load("validating")
        validation = part.Validation(spec, model, length.steps, precision, device, world)
        columns = (*COLUMNS, *part.COLUMNS)
    history = History(length.steps, preset.training.log_rows, columns)
    step_loss = DetectorStep(model, feeder, spec, device, world)
    timed = spec.with_milestones(length.milestone_shares)
    facts = train(
        timed, model, step_loss, length.steps, folder, history, precision, device, feeder, None, world, validation
    )
    summary = {
        "experiment": spec.name,
        "steps": length.steps,
        "images_seen": step_loss.images_seen(history),
        "loss_first": round(history.rows[0]["loss"], 6),
        "loss_last": round(history.rows[-1]["loss"], 6),
        "collage_share": history.mean("collage"),
        "small_share_mean": history.mean("small_share"),
        "low_share_steps": history.mean("low_share"),
        "small_share_histogram": history.histogram("small_share"),
        "valid_objects": step_loss.valid_objects(history),
        "init_matched": matched,
        "init_unmatched": len(unmatched),
        "precision": precision,
        "processes": world.size,
        **({"pyramid": pyramid_facts(spec, history, length, units)} if pyramid else {}),
        **facts,
    }
    return Trained(model.state_dict(), metadata, history.csv(), summary, folder)


class DetectorStep:
    """Losses and logged quantities of one forward pass, in this process.

    Attributes:
        info: the feeder's facts of the last batch (`image_ids`, `file_names`, ...) and the seconds `waited` for it.
    """

    def __init__(
        self, model: nn.Module, feeder: Feeder, spec: Spec, device: torch.device, world: World = ALONE
    ) -> None:
        self.model, self.feeder, self.device, self.world = model, feeder, device, world
        self.wrapped = world.wrap(model)  # gradients are shared as long as this object exists
        self.accumulate = spec.preset.training.accumulate
        self.info: dict[str, Any] = {}
        self.sums: Tensor | None = None
        self.small = (32 * spec.preset.factor) ** 2
        self.large = (96 * spec.preset.factor) ** 2
        collage = spec.experiment.method.collage
        self.threshold = collage.threshold if collage else 0.1
        self.together = collage is not None and collage.reduce

    def __call__(self, number: int) -> tuple[dict[str, Tensor], dict[str, Tensor | float | None]]:
        """Return the named losses of batch `number`, counted over all steps, and the quantities to log.

        Shares come with the last batch of an optimiser step as scalar tensors, so that nothing waits for a GPU.
        """
        last = (number + 1) % self.accumulate == 0
        asked = time.perf_counter()
        images, targets, info = self.feeder.batch(number)
        self.info = {**info, "waited": time.perf_counter() - asked}
        if self.device.type != "cpu":
            check_targets(targets)  # here, where no GPU has to be waited for
        images = [image.to(self.device, non_blocking=True) for image in images]
        targets = [
            {name: value.to(self.device, non_blocking=True) for name, value in target.items()} for target in targets
        ]
        with nullcontext() if last else self.world.local(self.wrapped):
            losses = self.wrapped(images, targets)
        positives = self.model.positives
        small = None if positives is None else share_sums(positives.regression, positives.areas, self.small)
        self.feeder.observe(positives, targets, last, small)
        seen = float(len(images) * self.world.size)
        return losses, {"images": seen, **self.shares(positives, small, last), **self.batch_facts(info, seen)}

    def shares(self, positives: PositiveLosses | None, small: Tensor | None, last: bool = True) -> dict[str, Tensor]:
        """Return which share of a step's regression loss small, medium and large objects carried.

        `small` [2] is what small objects and all carry in this batch (`share_sums`, which DST's feedback reads too).
        Shares are sums over sums of the step's batches in all processes, NaN where there is no loss, and come with the
        last batch. `low_share` is of this process alone, unless collages are decided together.
        """
        if positives is None:
            return {}
        up_to_medium, _ = share_sums(positives.regression, positives.areas, self.large)
        sums = torch.stack([small[0], up_to_medium, small[1]])
        self.sums = sums if self.sums is None else self.sums + sums
        if not last:
            return {}
        own, self.sums = self.sums, None
        joint = self.world.sum(own)
        small, up_to_medium = joint[0] / joint[2], joint[1] / joint[2]  # 0 / 0 is NaN
        decides = small if self.together else own[0] / own[2]
        return {
            "small_share": small,
            "medium_share": up_to_medium - small,
            "large_share": 1 - up_to_medium,
            "low_share": torch.where(decides.isnan(), decides, (decides < self.threshold).double()),
        }

    def batch_facts(self, info: dict[str, Any], seen: float) -> dict[str, float | None]:
        """Return whether the batch was a collage, and by the name of its resolution its share of valid objects.

        `valid_...` exists in every step of a pyramid, `snip_valid_...` only where valid ranges apply. The number of
        inputs that were `seen` is `inputs_...`, or `snip_inputs_...` where they apply.
        """
        facts: dict[str, float | None] = {}
        if "collage" in info:
            facts["collage"] = float(info["collage"])
        if "resolution" in info:
            side, phase = info["resolution"], "snip_" if info["snip"] else ""
            facts[f"valid_{side}"] = facts[f"{phase}valid_{side}"] = info["valid"]
            facts[f"{phase}inputs_{side}"] = seen
        return facts

    @staticmethod
    def images_seen(history: History) -> int:
        """Return the number of network inputs that the training saw."""
        return int(history.sums.get("images", 0))

    @staticmethod
    def valid_objects(history: History) -> dict[str, float] | None:
        """Return each resolution's mean share of valid objects while ranges apply; None where they never do."""
        names = [name for name in history.counts if name.startswith("snip_valid_")]
        return {name.removeprefix("snip_valid_"): history.mean(name) for name in sorted(names)} or None


def pyramid_facts(spec: Spec, history: History, length: Length, units: Units) -> dict[str, Any]:
    """Return by resolution what an image gives an epoch and what was seen, without and with valid ranges."""
    sides = [str(level.short_side) for level in spec.experiment.pyramid]
    return {
        "ranges_from": length.ranges_from,
        "units_an_image": {name: dict(zip(sides, part, strict=False)) for name, part in units._asdict().items()},
        "inputs_seen": {
            name: {side: int(history.sums.get(f"{phase}inputs_{side}", 0)) for side in sides}
            for name, phase in (("plain", ""), ("ranged", "snip_"))
        },
    }
