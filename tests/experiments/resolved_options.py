"""Everything that an experiment resolves to at the papers' size, as flat options: of its files, and of its network."""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from typing import Any

import msgspec

from pipeline import parts
from pipeline.models.build import build_detector
from pipeline.models.detectors.rfcn import RegionHeads
from pipeline.models.heads.anchors import match_anchors
from pipeline.models.measure import on_meta
from pipeline.options import Method, Notes, ProposalNetwork, RegionClassifier
from pipeline.spec import Spec

FAMILY = {  # constants of a detector's module that no option sets
    "cascade_rcnn": ("LOSS_WEIGHTS",),
    "grid_rcnn": ("RESOLUTION", "ROIS_AN_IMAGE", "LOSS_WEIGHT"),
    "dynamic_rcnn": ("INTERVAL", "INITIAL_BETA", "IOU_RANK", "BETA_RANK"),
    "retinanet": ("OCTAVES", "RATIOS", "BASE", "BETA"),
    "fcos": ("RANGES",),
    "reppoints": ("CONVS", "BASE", "OFFSET_GRADIENT", "BETA", "INITIAL_WEIGHT"),
    "d_rfcn_rpn": ("HIDDEN",),
    "d_rfcn_rcn": ("BINS",),
}
# seen in the network, where it reads them
OF_NETWORKS = ("rpn_positive_iou", "rpn_negative_iou", "rpn_box_loss", "box_loss", "roi_samples")


def resolved(spec: Spec) -> dict[str, Any]:
    """Return every option of a resolved experiment by its name with dots; options that are off are left out."""
    experiment, recipe = spec.experiment, spec.recipe
    classifier = experiment.detector == "classifier"
    left_out = ("source", "differs", "epochs", "iterations", *OF_NETWORKS, *(() if classifier else ("labelled",)))
    found = {"length": experiment.length, "stem": experiment.stem}
    epochs = f"{recipe.epochs:g} epochs" if recipe.iterations is None else ""
    found["recipe.length"] = epochs or f"{recipe.iterations} iterations"
    found |= flat({name: getattr(recipe, name) for name in recipe.__struct_fields__ if name not in left_out}, "recipe")
    found |= flat(off_left_out(experiment.method), "method")
    found |= flat(dict(enumerate(map(off_left_out, experiment.pyramid))), "pyramid")
    if experiment.resolutions is not None:
        found |= flat(experiment.resolutions, "resolutions")
    if classifier:
        return found
    found |= flat({name: off_left_out(test) for name, test in experiment.tests.items()}, "tests")
    if experiment.detector == "d_rfcn_rcn":
        found |= flat(experiment.region or RegionClassifier(), "region")
    if experiment.detector == "d_rfcn_rpn":
        found |= flat(experiment.rpn or ProposalNetwork(), "proposal_network")
    found["pad_divisor"] = spec.preset.model.pad_divisor
    small = msgspec.structs.replace(
        experiment, backbone="resnet50", method=Method(), notes=Notes(""), tests={}, pyramid=(), length=1.0
    )
    return found | of_network(msgspec.json.encode(msgspec.structs.replace(spec, name="any", experiment=small)))


@cache
def of_network(encoded: bytes) -> dict[str, Any]:
    """Return what the network of a specification (as JSON) reads: of its proposals, its regions, its dense head."""
    spec = msgspec.json.decode(encoded, type=Spec)
    with on_meta():
        model = build_detector(spec)
    found = {}
    if hasattr(model, "rpn"):
        found |= of_proposals(model.rpn)
    if hasattr(model, "roi_heads"):
        found |= of_regions(model.roi_heads)
    if hasattr(model, "head"):
        found |= of_dense_head(model.head)
    module = import_module(parts.detector(spec.experiment.detector))
    constants = FAMILY.get(spec.experiment.detector, ())
    return found | {f"{spec.experiment.detector}.{name.lower()}": getattr(module, name) for name in constants}


def of_proposals(rpn: Any) -> dict[str, Any]:
    """Return the options of a region proposal network."""
    matcher, sampler = rpn.proposal_matcher, rpn.fg_bg_sampler
    return {
        "rpn.positive_iou": matcher.high_threshold,
        "rpn.negative_iou": matcher.low_threshold,
        "rpn.batch": sampler.batch_size_per_image,
        "rpn.positive_fraction": sampler.positive_fraction,
        "rpn.before_nms_train": rpn._pre_nms_top_n.get("training"),
        "rpn.before_nms_test": rpn._pre_nms_top_n["testing"],
        "rpn.after_nms_train": rpn._post_nms_top_n.get("training"),
        "rpn.after_nms_test": rpn._post_nms_top_n["testing"],
        "rpn.nms": rpn.nms_thresh,
        "rpn.anchors": rpn.anchor_generator.sizes,
        "rpn.ratios": rpn.anchor_generator.aspect_ratios[0],
        "rpn.border": getattr(rpn, "border", None),
        "rpn.box_loss": getattr(rpn, "box_loss", "smooth_l1"),
    }


def of_regions(heads: Any) -> dict[str, Any]:
    """Return the options of RoI heads; of a cascade, a value a stage."""
    stages = list(getattr(heads, "stages", [heads]))
    each = {
        "roi.positive_iou": [stage.proposal_matcher.high_threshold for stage in stages],
        "roi.negative_iou": [stage.proposal_matcher.low_threshold for stage in stages],
        "roi.box_weights": [stage.box_coder.weights for stage in stages],
        "roi.box_loss": [stage.box_loss for stage in stages],
    }
    if isinstance(heads, RegionHeads):  # which samples no RoIs
        each["roi.samples"] = [heads.box_head[0].samples]
    else:
        each["roi.samples"] = [stage.box_roi_pool.sampling_ratio for stage in stages]
        each["roi.batch"] = [stage.fg_bg_sampler.batch_size_per_image for stage in stages]
        each["roi.positive_fraction"] = [stage.fg_bg_sampler.positive_fraction for stage in stages]
    found = {name: values[0] if values == values[:1] * len(values) else values for name, values in each.items()}
    return found | {
        "roi.score_threshold": stages[-1].score_thresh,
        "roi.nms": stages[-1].nms_thresh,
        "roi.detections": stages[-1].detections_per_img,
    }


def of_dense_head(head: Any) -> dict[str, Any]:
    """Return the options of a head without proposals."""
    matching = inspect.signature(match_anchors).parameters
    return {
        "dense.positive_iou": matching["positive"].default,
        "dense.negative_iou": matching["negative"].default,
        "dense.score_threshold": head.score_threshold,
        "dense.candidates": head.candidates,
        "dense.nms": head.nms_iou,
        "dense.detections": head.detections,
        "dense.box_loss": getattr(head, "box_loss", None),
    }


def off_left_out(options: msgspec.Struct) -> dict[str, Any]:
    """Return options but those at their default; the options inside of one that is given are all there."""
    names, defaults = options.__struct_fields__, options.__struct_defaults__
    at_default = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
    given = {name: getattr(options, name) for name in names}
    return {name: value for name, value in given.items() if name not in at_default or value != at_default[name]}


def flat(value: Any, place: str) -> dict[str, Any]:
    """Return options below a place by their names with dots."""
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {k: v for name, item in value.items() for k, v in flat(item, f"{place}.{name}").items()}
    return {place: value}
