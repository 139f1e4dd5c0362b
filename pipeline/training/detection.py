"""Train one detector: build and initialise it, apply the method, run the loop, write weights, history and summary."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import paths
from pipeline.config import Spec, epoch_steps
from pipeline.data.detection_set import DetectionSet
from pipeline.data.manifest import load_split
from pipeline.data.masks import check_masks
from pipeline.data.proposals import read_proposals
from pipeline.errors import InputError
from pipeline.files import sha256, write_json, write_text
from pipeline.models import build_detector
from pipeline.models.heads.dense import DenseDetector
from pipeline.models.heads.roi_heads import PositiveLosses
from pipeline.models.normaliser import set_normaliser
from pipeline.training import scale_ranges
from pipeline.training.checkpoint import Checkpoints, load_init, load_weights, save_weights
from pipeline.training.distributed import ALONE, World, joined
from pipeline.training.feedback import share_sums
from pipeline.training.feeding import Feeder, build_feeder
from pipeline.training.history import History
from pipeline.training.loop import train
from pipeline.training.precision import choose_precision, pick_device, set_threads


def train_detector(spec: Spec) -> None:
    """Train the detector of a specification and write its three outputs (`paths.weights`, `history`, `summary`).

    Processes started by torchrun share every batch, and the first one writes.
    """
    with joined() as world:
        train_together(spec, world)


def train_together(spec: Spec, world: World) -> None:
    """Train with all processes of a world."""
    preset = spec.preset
    set_threads(preset)
    device = pick_device()
    manifest = spec.manifest
    masks = spec.experiment.has_masks
    data = DetectionSet(load_split(manifest, "train"), spec.data.limit_train, masks)
    if masks:
        check_masks(load_split(manifest, "val"))  # scoring would fail only after hours of training
    regions = give_proposals(data, spec, "train")
    inits, tensors, metadata = read_inits(spec)
    torch.manual_seed(spec.seed)
    model = build_detector(spec, data.classes, read_scales(metadata))
    matched, unmatched = load_init(model, tensors)
    if spec.norm == "sync":
        model = world.synchronise_norms(model, device)
    model = model.to(device, memory_format=torch.channels_last)
    if preset.training.reduce_normaliser and world.size > 1:
        set_normaliser(model, world.normaliser(device))
    if spec.experiment.method.snip is not None:
        wire_snip(model, spec.experiment.method.snip.ignore_iou)

    steps = epoch_steps(spec, len(data))
    feeder = build_feeder(spec, data, steps, world)
    history = History(steps, preset.training.log_rows)
    precision = world.agreed(choose_precision(preset, device))
    folder = paths.scratch(spec.name, run_digest(spec, precision, "train", manifest, *inits, *regions))
    step_loss = DetectorStep(model, feeder, spec, device, world)
    facts = train(spec, model, step_loss, steps, folder, history, precision, device, feeder, world=world)
    if not world.main:
        return

    save_weights(paths.weights(preset.name, spec.name), model.state_dict(), metadata)
    write_text(paths.history(preset.name, spec.name), history.csv())
    summary = {
        "experiment": spec.name,
        "steps": steps,
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
        **facts,
    }
    write_json(paths.training_summary(preset.name, spec.name), summary)
    Checkpoints(folder).remove()


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
        images = [image.to(self.device, non_blocking=True) for image in images]
        targets = [
            {name: value.to(self.device, non_blocking=True) for name, value in target.items()} for target in targets
        ]
        with nullcontext() if last else self.world.local(self.wrapped):
            losses = self.wrapped(images, targets)
        positives = self.model.positives
        self.feeder.observe(positives, targets, last)
        seen = float(len(images) * self.world.size)
        return losses, {"images": seen, **self.shares(positives, last), **self.batch_facts(info)}

    def shares(self, positives: PositiveLosses | None, last: bool = True) -> dict[str, Tensor]:
        """Return the shares of small, medium and large objects in a step's regression loss, with its last batch.

        A share is a sum divided by a sum, both over the step's batches in all processes, and NaN where there is no
        loss. `low_share` is of this process alone, unless processes decide on collages together.
        """
        if positives is None:
            return {}
        small, total = share_sums(positives.regression, positives.areas, self.small)
        up_to_medium, _ = share_sums(positives.regression, positives.areas, self.large)
        sums = torch.stack([small, up_to_medium, total])
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

    def batch_facts(self, info: dict[str, Any]) -> dict[str, float | None]:
        """Return whether the batch was a collage, and its share of valid objects by the name of its resolution.

        `valid_...` exists in every step of a pyramid, `snip_valid_...` only where valid ranges apply.
        """
        facts: dict[str, float | None] = {}
        if "collage" in info:
            facts["collage"] = float(info["collage"])
        if "resolution" in info:
            facts[f"valid_{info['resolution']}"] = info["valid"]
            if info["snip"]:
                facts[f"snip_valid_{info['resolution']}"] = info["valid"]
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


def wire_snip(model: nn.Module, ignore_iou: float) -> None:
    """Let valid ranges select the anchors, points and RoIs of the losses (SNIP, section 5.2).

    A network that only proposes has no RoI heads, one that only classifies has no RPN, a dense detector has neither.
    """

    def label_anchors(anchors: Tensor, target: dict[str, Tensor]) -> Tensor:
        valid = target["valid_proposal"]
        return scale_ranges.label_anchors_snip(
            anchors,
            target["boxes"][valid],
            target["boxes"][~valid],
            (float("inf"), float("inf")),  # no anchor is ignored here for reaching out of the image
            positive_iou=model.rpn.proposal_matcher.high_threshold,
            negative_iou=model.rpn.proposal_matcher.low_threshold,
            ignore_iou=ignore_iou,
            border=float("inf"),
            match_zero_iou=False,
        )

    def filter_rois(rois: Tensor, labels: Tensor, matched: Tensor, target: dict[str, Tensor]) -> Tensor:
        return scale_ranges.roi_takes_part(rois, labels, matched, target, target["head_range"].unbind())

    if getattr(model, "rpn", None) is not None:
        model.rpn.label_anchors = label_anchors
    if getattr(model, "roi_heads", None) is not None:
        model.roi_heads.filter_rois = filter_rois
    if isinstance(model, DenseDetector):
        model.head.ignore_iou = ignore_iou


def give_proposals(data: DetectionSet, spec: Spec, split: str, source: str | None = None) -> list[Path]:
    """Attach to a data set the proposals that a region classifier needs, and return their files.

    Args:
        data: the images of `split`.
        spec: the classifier; any other detector reads no proposals.
        split: "train" or "val".
        source: experiment that made the proposals, if not the one that `spec` names.

    Raises:
        InputError: a classifier without proposals, or proposals of other data.
    """
    source = source or spec.experiment.proposals
    if source is None:
        if spec.experiment.detector == "d_rfcn_rcn":
            raise InputError(
                f"{spec.name} classifies regions and names none; write `proposals: EXPERIMENT` into its file."
            )
        return []
    path = paths.proposals(spec.preset.name, source, split)
    data.proposals = read_proposals(path, [entry["id"] for entry in data.entries])
    return [path]


def read_inits(spec: Spec) -> tuple[list[Path], dict[str, Tensor], dict[str, str]]:
    """Return the files that a detector starts from, their tensors, and the metadata of the first file.

    The second body of a joint network has its own file, whose backbone becomes `backbone.second` (SNIP, section 7.3).
    """
    experiment = spec.experiment
    files = [paths.init(spec.preset.name, experiment.init)]
    tensors, metadata = load_weights(files[0])
    if experiment.region is not None and experiment.region.second_init is not None:
        files.append(paths.init(spec.preset.name, experiment.region.second_init))
        body = "backbone.body."
        second = {name: tensor for name, tensor in load_weights(files[1])[0].items() if name.startswith(body)}
        tensors |= {f"backbone.second.{name.removeprefix(body)}": tensor for name, tensor in second.items()}
    return files, tensors, metadata


def read_scales(metadata: dict[str, str]) -> dict[str, tuple[float, float]] | None:
    """Return the learnt scales in the metadata of a weights file, or None."""
    if "scales" not in metadata:
        return None
    return {name: (pair[0], pair[1]) for name, pair in json.loads(metadata["scales"]).items()}


def run_digest(spec: Spec, precision: str, stage: str, *files: Path) -> str:
    """Hash everything that a training depends on: resolved parameters, precision, stage code, data and init files.

    A file that does not exist (the manifest, where embedded data was never verified) is left out.
    """
    present = [file for file in (paths.code_digest(stage), *files) if file.is_file()]
    parts = [spec.digest, precision, torch.__version__, *(sha256(file) for file in present)]
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:16]
