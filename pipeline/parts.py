"""Which modules a specification selects: what one experiment uses and another does not is loaded by name from here.

Nothing imports these modules, so a stage's import closure holds none of them; its digest adds those that `parts` names
for its experiment (`pipeline/code_digest.py`). The code that builds a network or a training takes them from the same
tables by `load`, and a test compares what was loaded with what `parts` names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import InputError, nearest

if TYPE_CHECKING:
    from pipeline.spec import Spec

DETECTORS, OPTIMIZERS = "pipeline.models.detectors", "pipeline.training.optimizers"  # one file each, found by name
FAMILIES = {"d_rfcn_rcn": "rfcn", "d_rfcn_rpn": "proposal_network"}  # whose files have another name than the option's
BACKBONES = {"dpn": "pipeline.models.backbones.dpn", "": "pipeline.models.backbones.resnet"}  # by the name's start
WITHOUT_NETWORK = ("evaluate", "loss_share")
TRAINING = ("train", "pretrain")


class Part(NamedTuple):
    """One module, which specifications use it, and the only stages in which they do (none: all that build networks)."""

    module: str
    used: Callable[[Spec], bool]
    scripts: tuple[str, ...] = ()


def mask_only(spec: Spec) -> bool:
    """Whether PSConv has learnable masks everywhere, so that its fixed pattern is nowhere."""
    psconv = spec.experiment.method.psconv
    return psconv is not None and psconv.learnable_mask and not psconv.neck


def kind(spec: Spec) -> str | None:
    """Return of which kind the labelled images of a classifier are, None where it trains on crops."""
    return spec.labelled and spec.labelled.kind


def validates(spec: Spec) -> bool:
    """Whether AP is measured while a detector trains; proposals alone have none."""
    return spec.preset.training.validate_epochs > 0 and spec.experiment.detector != "d_rfcn_rpn"


PARTS = {
    "psconv": Part("pipeline.layers.psconv", lambda s: s.experiment.method.psconv is not None and not mask_only(s)),
    "learnable_mask": Part(
        "pipeline.layers.psconv_mask",
        lambda s: s.experiment.method.psconv is not None and s.experiment.method.psconv.learnable_mask,
    ),
    "deformable": Part("pipeline.models.backbones.deformable", lambda s: s.experiment.method.deformable is not None),
    "global_scale": Part("pipeline.layers.global_scale", lambda s: s.experiment.method.global_scale),
    "decomposed": Part("pipeline.layers.decomposed", lambda s: s.experiment.method.decomposed),
    "decomposition": Part("pipeline.layers.decomposition", lambda s: s.experiment.method.decomposed),
    "fusion": Part("pipeline.layers.multi_scale_fusion", lambda s: s.experiment.method.fusion is not None),
    "classifier": Part("pipeline.models.classifier", lambda s: s.experiment.detector == "classifier"),
    "masks": Part("pipeline.data.masks", lambda s: s.experiment.has_masks),
    "mask_results": Part("pipeline.prediction.mask_results", lambda s: s.experiment.has_masks, ("predict",)),
    "range_search": Part(
        "pipeline.prediction.range_search",
        lambda s: any(test.search_ranges for test in s.experiment.tests.values()),
        ("predict",),
    ),
    "collage": Part("pipeline.training.collage_feeding", lambda s: s.experiment.method.collage is not None, TRAINING),
    "pyramid": Part("pipeline.training.pyramid", lambda s: bool(s.experiment.pyramid), TRAINING),
    "snip": Part("pipeline.training.snip", lambda s: s.experiment.method.snip is not None, TRAINING),
    "he_start": Part("pipeline.models.he_start", lambda s: s.recipe.new_layers == "he", ("train",)),
    "validating": Part("pipeline.prediction.validating", validates, ("train",)),
    "averaging": Part("pipeline.training.averaging", lambda s: s.preset.training.ema is not None, TRAINING),
    "labelled": Part("pipeline.training.classification.labelled", lambda s: s.labelled is not None, ("pretrain",)),
    "cifar": Part("pipeline.data.labelled.cifar", lambda s: kind(s) == "cifar100", ("pretrain",)),
    "image_folder": Part(
        "pipeline.data.labelled.image_folder", lambda s: kind(s) in ("folder", "split"), ("pretrain",)
    ),
    "crops": Part("pipeline.training.classification.crops", lambda s: s.labelled is None, ("pretrain",)),
    "scaleworld": Part(
        "pipeline.data.scaleworld.scenes",
        lambda s: s.labelled is None and s.preset.data.kind == "scaleworld",
        ("pretrain",),
    ),
    "published": Part("pipeline.models.pretrained", lambda s: s.published, ("pretrain",)),
    "voc": Part("pipeline.evaluation.voc", lambda s: s.experiment.dataset == "voc", ("evaluate",)),
    "recall": Part("pipeline.evaluation.proposals", lambda s: s.experiment.detector == "d_rfcn_rpn", ("evaluate",)),
}


def load(name: str) -> ModuleType:
    """Return a part's module."""
    return import_module(PARTS[name].module)


def parts(spec: Spec, script: str) -> list[str]:
    """Return the modules that a specification selects beyond the import closure of a stage's script.

    Raises:
        InputError: a detector or an optimiser that has no file.
    """
    builds = script not in WITHOUT_NETWORK
    found = [p.module for p in PARTS.values() if (script in p.scripts if p.scripts else builds) and p.used(spec)]
    if builds:
        region = spec.experiment.region
        found += [backbone(name) for name in (spec.experiment.backbone, region and region.second_backbone) if name]
    if builds and spec.experiment.detector != "classifier":
        found.append(detector(spec.experiment.detector))
    if script in TRAINING:
        found.append(optimizer(spec.optimizer))
    return sorted(set(found))


def everything() -> list[str]:
    """Return all modules that any specification could select."""
    found = [part.module for part in PARTS.values()] + list(BACKBONES.values())
    return sorted(found + [f"{folder}.{name}" for folder in (DETECTORS, OPTIMIZERS) for name in files(folder)])


def backbone(name: str) -> str:
    """Return the module of a backbone's family."""
    return next(module for start, module in BACKBONES.items() if name.startswith(start))


def detector(name: str) -> str:
    """Return the module of a detector family. Raises InputError where there is none."""
    return file_of(DETECTORS, FAMILIES.get(name, name), "detector")


def optimizer(name: str) -> str:
    """Return the module of an optimiser. Raises InputError where there is none."""
    return file_of(OPTIMIZERS, name, "optimizer")


def file_of(folder: str, name: str, what: str) -> str:
    """Return the module of this name in a folder. Raises InputError naming the nearest where there is none."""
    known = files(folder)
    if name not in known:
        raise InputError(
            f"Unknown {what} {name!r}{nearest(name, known)}; {folder.replace('.', '/')} has a file of each: {known}."
        )
    return f"{folder}.{name}"


@cache
def files(folder: str) -> list[str]:
    """Return the names of a package's modules, sorted."""
    inside = Path(__file__).parents[1].joinpath(*folder.split("."))
    return sorted(path.stem for path in inside.glob("*.py") if path.stem != "__init__")
