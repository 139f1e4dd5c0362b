"""Train one detector: build, initialise, wire the method in, run the loop, write weights, history and summary."""

from __future__ import annotations

import hashlib
import json
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
from pipeline.models.roi_heads import PositiveLosses
from pipeline.training import scale_ranges
from pipeline.training.checkpoint import Checkpoints, load_init, load_weights, save_weights
from pipeline.training.feedback import small_loss_share
from pipeline.training.feeding import Feeder, build_feeder
from pipeline.training.history import History
from pipeline.training.loop import train
from pipeline.training.precision import choose_precision, pick_device, set_threads


def train_detector(spec: Spec) -> None:
    """Train the detector of a specification and write its three outputs (`paths.weights`, `history`, `summary`)."""
    preset = spec.preset
    set_threads(preset)
    device = pick_device()
    manifest, init = paths.manifest(preset.name), paths.init(preset.name, spec.experiment.init)
    masks = spec.experiment.has_masks
    data = DetectionSet(load_split(manifest, "train"), preset.data.limit_train, masks)
    if masks:
        check_masks(load_split(manifest, "val"))  # they are scored after hours
    regions = give_proposals(data, spec, "train")
    tensors, metadata = load_weights(init)
    torch.manual_seed(spec.seed)
    model = build_detector(spec, data.classes, read_scales(metadata))
    matched, unmatched = load_init(model, tensors)
    model = model.to(device, memory_format=torch.channels_last)
    if spec.experiment.method.snip is not None:
        wire_snip(model, spec.experiment.method.snip.ignore_iou)

    steps = epoch_steps(spec, len(data))
    feeder = build_feeder(spec, data, steps)
    history = History(steps, preset.training.log_rows)
    precision = choose_precision(preset, device)
    folder = paths.scratch(spec.name, run_digest(spec, precision, "train", manifest, init, *regions))
    step_loss = DetectorStep(model, feeder, spec, device)
    train(spec, model, step_loss, steps, folder, history, precision, device, feeder)

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
        "valid_objects": step_loss.valid_objects(history),
        "init_matched": matched,
        "init_unmatched": len(unmatched),
        "precision": precision,
    }
    write_json(paths.training_summary(preset.name, spec.name), summary)
    Checkpoints(folder).remove()


class DetectorStep:
    """Losses and logged quantities of one step."""

    def __init__(self, model: nn.Module, feeder: Feeder, spec: Spec, device: torch.device) -> None:
        self.model, self.feeder, self.device = model, feeder, device
        self.small = (32 * spec.preset.factor) ** 2
        self.large = (96 * spec.preset.factor) ** 2
        collage = spec.experiment.method.collage
        self.threshold = collage.threshold if collage else 0.1

    def __call__(self, step: int) -> tuple[dict[str, Tensor], dict[str, float | None]]:
        """Return the named losses of step `step` and what the history logs of it."""
        images, targets, info = self.feeder.batch(step)
        images = [image.to(self.device, non_blocking=True) for image in images]
        targets = [{name: value.to(self.device) for name, value in target.items()} for target in targets]
        losses = self.model(images, targets)
        positives = self.model.positives
        self.feeder.observe(positives, targets)
        return losses, {"images": float(len(images)), **self.shares(positives), **self.batch_facts(info)}

    def shares(self, positives: PositiveLosses | None) -> dict[str, float | None]:
        """Return which share of the regression loss small, medium and large objects carried; nothing without any."""
        if positives is None:
            return {}
        small = small_loss_share(positives.regression, positives.areas, self.small)
        up_to_medium = small_loss_share(positives.regression, positives.areas, self.large)
        return {
            "small_share": small,
            "medium_share": up_to_medium - small,
            "large_share": 1 - up_to_medium,
            "low_share": None if small != small else float(small < self.threshold),
        }

    def batch_facts(self, info: dict[str, Any]) -> dict[str, float | None]:
        """Return whether the batch was a collage, and its share of valid objects under its resolution's name.

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
        """Return how many network inputs the training saw."""
        return int(history.sums.get("images", 0))

    @staticmethod
    def valid_objects(history: History) -> dict[str, float] | None:
        """Return the mean share of valid objects at each resolution while ranges apply, None where they never do."""
        names = [name for name in history.counts if name.startswith("snip_valid_")]
        return {name.removeprefix("snip_valid_"): history.mean(name) for name in sorted(names)} or None


def wire_snip(model: nn.Module, ignore_iou: float) -> None:
    """Let valid ranges decide which anchors and RoIs take part in the losses (SNIP, section 5.2).

    A network that only proposes has no RoI heads, one that only classifies no RPN.
    """

    def label_anchors(anchors: Tensor, target: dict[str, Tensor]) -> Tensor:
        valid = target["valid_proposal"]
        height, width = anchors[:, 3].max(), anchors[:, 2].max()
        return scale_ranges.label_anchors_snip(
            anchors,
            target["boxes"][valid],
            target["boxes"][~valid],
            (float(height), float(width)),
            positive_iou=model.rpn.proposal_matcher.high_threshold,
            negative_iou=model.rpn.proposal_matcher.low_threshold,
            ignore_iou=ignore_iou,
            border=float("inf"),
            match_zero_iou=False,
        )

    def filter_rois(rois: Tensor, labels: Tensor, matched: Tensor, target: dict[str, Tensor]) -> Tensor:
        low, high = target["head_range"].tolist()
        return scale_ranges.roi_takes_part(rois, labels, matched, target, (low, high))

    if getattr(model, "rpn", None) is not None:
        model.rpn.label_anchors = label_anchors
    if getattr(model, "roi_heads", None) is not None:
        model.roi_heads.filter_rois = filter_rois


def give_proposals(data: DetectionSet, spec: Spec, split: str, source: str | None = None) -> list[Path]:
    """Give a data set the proposals that a classifier of regions is fed, and return the file that holds them.

    Args:
        data: the images of `split`.
        spec: the classifier, or any other detector, which reads none.
        split: "train" or "val".
        source: another experiment than the one whose proposals `spec` names.

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


def read_scales(metadata: dict[str, str]) -> dict[str, tuple[float, float]] | None:
    """Return the learnt scales that a file of weights carries, or None."""
    if "scales" not in metadata:
        return None
    return {name: (pair[0], pair[1]) for name, pair in json.loads(metadata["scales"]).items()}


def run_digest(spec: Spec, precision: str, stage: str, *files: Path) -> str:
    """Hash all that a training depends on: resolved parameters, precision, its stage's code, and data and init files.

    A file that does not exist (the manifest, where embedded data was never verified) is left out.
    """
    present = [file for file in (paths.code_digest(stage), *files) if file.is_file()]
    parts = [spec.digest, precision, torch.__version__, *(sha256(file) for file in present)]
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:16]
