"""The settings of a stage: the options that it reads, one line each, resolved from experiment, recipe and preset.

An option at its recorded default is left out (`pipeline/defaults.py`), and so are notes, sources and titles, and what
only other stages read. An option that no table below names is read by every stage.
"""

from __future__ import annotations

import json
from fnmatch import fnmatch
from functools import cache
from typing import Any

import msgspec

from pipeline import config, defaults
from pipeline.options import ProposalNetwork, RegionClassifier, Resolutions
from pipeline.parts import TRAINING
from pipeline.preset import Preset
from pipeline.spec import Spec

NETWORK = ("train", "pretrain", "predict", "propose", "learn_scales", "offsets")  # runs on a device
BUILDERS = (*NETWORK, "decompose", "measure", "export", "weight_share", "receptive_field")
VISITS = ("learn_scales", "offsets")  # draw images at random
SIZED = ("pretrain", "measure", "export")  # of classifiers
IN_BLOCKS = ("train", "pretrain", "predict", "propose", "learn_scales", "decompose", "evaluate")
TRAIN_ONLY = (
    "steps",
    "batch",
    "lr",
    "reduce_normaliser",
    "validate_epochs",
    "compile",
)  # options of a preset's `training`
READERS: dict[str, tuple[str, ...]] = {  # of an option, by the first pattern that fits; no stage: it decides no result
    "experiment.notes*": (),
    "experiment.recipe": (),
    "experiment.tests*": (),  # a stage of one test has that test's options
    "experiment.like": ("pretrain",),
    "experiment.seeds": (),
    "experiment.length": TRAINING,
    "experiment.init": (*TRAINING, "decompose"),
    "experiment.proposals": ("train", "predict"),
    "experiment.resolutions*": SIZED,
    "experiment.method.short_sides": ("train",),
    "experiment.method.collage*": ("train",),
    "experiment.method.snip*": ("train",),
    "experiment.pyramid*": ("train",),
    **dict.fromkeys(("recipe.source", "recipe.differs*"), ()),
    **dict.fromkeys(("recipe.short_side", "recipe.long_side"), ("train", *VISITS, *SIZED)),
    **dict.fromkeys(("recipe.rpn_*", "recipe.box_loss", "recipe.roi_samples"), BUILDERS),
    **dict.fromkeys(("recipe.norm", "recipe.frozen_stages"), BUILDERS),
    "recipe.labelled*": ("pretrain",),
    "recipe.*": TRAINING,
    "preset.training.checkpoint_rows": (),
    "preset.training.pretrain_size": SIZED,
    "preset.training.pretrain_seeds": (),
    "preset.training.pretrain_*": ("pretrain",),
    "preset.training.scale_images": VISITS,
    "preset.training.precision": NETWORK,
    **dict.fromkeys(("preset.training.norm", "preset.training.frozen_stages"), BUILDERS),
    **dict.fromkeys((f"preset.training.{name}" for name in TRAIN_ONLY), ("train",)),
    "preset.training.*": TRAINING,
    "preset.seed": (*TRAINING, *VISITS, "export"),
    "preset.search_sweeps": ("predict",),
    "preset.sizes": ("per_class",),
    "preset.threads": (*NETWORK, "export"),
    "preset.init_source": ("pretrain",),
    "preset.verdicts.draws": ("evaluate",),
    "preset.verdicts*": (),
    **dict.fromkeys(("preset.name", "preset.title", "preset.leaves_out", "preset.shares", "preset.grows"), ()),
    **dict.fromkeys(
        ("preset.blocks", "preset.headline_blocks", "preset.neck_blocks*"), ()
    ),  # an experiment's own, below
    "blocks": IN_BLOCKS,
    "block": IN_BLOCKS,
    **dict.fromkeys(("preset.data.*", "preset.datasets*", "preset.labelled*"), ()),  # an experiment's own, below
    "data.limit_train": ("train", "pretrain", "propose", *VISITS),
    "data.limit_val": ("predict", "propose", "evaluate", *VISITS),
    **dict.fromkeys(("data.kind", "data.seed"), ("pretrain",)),
    "data.*": (),  # what verification read stands in the manifest
    "labelled*": ("pretrain",),
}
# Stages that read little: the patterns of all that they read, of an experiment or of the preset alone.
LITTLE = {
    "evaluate": (
        *("experiment.detector", "experiment.dataset", "experiment.rpn*", "experiment.has_masks", "test*"),
        *("preset.factor", "preset.pixel_factor", "preset.verdicts.draws", "data.limit_val", "name", "blocks"),
    ),
    "loss_share": ("name",),
    "synthesize": (
        "preset.data.kind",
        "preset.data.train_images",
        "preset.data.val_images",
        "preset.data.seed",
        "preset.factor",
    ),
    "verify": ("preset.data.*", "preset.datasets*", "preset.pixel_factor", "preset.sizes"),
    "statistics": ("preset.pixel_factor",),
    "fetch": ("preset.data.*", "preset.datasets*", "preset.labelled*"),
    "identities": (),
    "plan": (),
}


def settings(spec: Spec, script: str, test: str = "single") -> list[str]:
    """Return the settings of a stage of one experiment, a line `option: value` each, sorted by option.

    Args:
        spec: the resolved experiment.
        script: the stage's.
        test: the test that the stage runs, if it runs one.
    """
    options = spec.experiment
    given = {"name": json.dumps(spec.name), **flat(options, "experiment"), **flat(spec.recipe, "recipe")}
    if options.detector == "d_rfcn_rpn" and options.rpn is None:  # what the code then takes
        given |= flat(ProposalNetwork(), "experiment.rpn")
    if options.detector == "classifier" and options.resolutions is None:
        given |= flat(Resolutions(), "experiment.resolutions")
    if options.detector == "d_rfcn_rcn" and options.region is None:
        given |= flat(RegionClassifier(), "experiment.region")
    if options.has_masks:
        given["experiment.has_masks"] = "true"
    given |= of_preset(spec.preset) | flat(spec.data, "data")
    given |= {name: str(value) for name, value in (("blocks", spec.blocks), ("block", spec.block)) if value > 1}
    if spec.labelled is not None:
        given |= {"labelled": "given", **flat(spec.labelled, "labelled")}
    if script in ("predict", "evaluate", "propose") and test in options.tests:
        given |= {"test": json.dumps(test), **flat(options.tests[test], "test")}
    return [f"{name}: {value}" for name, value in sorted(given.items()) if reads(script, name)]


def preset_settings(preset: Preset, script: str) -> list[str]:
    """Return the settings of a stage that belongs to no experiment: the preset, or the little that it reads of it."""
    return [
        f"{name}: {value}"
        for name, value in sorted(of_preset(preset).items())
        if any(fnmatch(name, pattern) for pattern in LITTLE.get(script, ("*",)))
    ]


def of_preset(preset: Preset) -> dict[str, str]:
    """Return a preset's options, with the factor of original pixels as it is used."""
    given = flat(preset, "preset")
    given.pop("preset.original_factor", None)
    return given | {"preset.pixel_factor": json.dumps(preset.pixel_factor)}


def others(spec: Spec, script: str, test: str = "single") -> list[Spec]:
    """Return the further experiments whose settings and code a stage uses: an init's model, an ensemble's members."""
    names: tuple[str, ...] = ()
    if script == "pretrain" and spec.experiment.like is not None:
        names = (spec.experiment.like,)
    elif script == "predict" and test in spec.experiment.tests:
        names = spec.experiment.tests[test].members
    return [config.specification(name, spec.preset) for name in names]


@cache
def reads(script: str, name: str) -> bool:
    """Whether a stage of one experiment reads an option."""
    if script in LITTLE:
        return any(fnmatch(name, pattern) for pattern in LITTLE[script])
    return script in next((scripts for pattern, scripts in READERS.items() if fnmatch(name, pattern)), (script,))


def flat(options: msgspec.Struct, place: str) -> dict[str, str]:
    """Return options below `place` by their names with dots, as JSON; those at their recorded default are left out."""
    known = defaults.recorded().get(type(options).__name__, {})
    found: dict[str, str] = {}
    for name in options.__struct_fields__:
        value = getattr(options, name)
        if name not in known or defaults.plain(value) != known[name]:
            found |= below(value, f"{place}.{name}", known.get(name, {}))
        elif isinstance(value, msgspec.Struct):
            found |= flat(value, f"{place}.{name}")
    return found


def below(value: Any, place: str, default: Any) -> dict[str, str]:
    """Return the lines of one value that is not its default."""
    if isinstance(value, msgspec.Struct):
        return ({place: "given"} if default is None else {}) | flat(value, place)
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in below(item, f"{place}.{key}", None).items()}
    if isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
        items = {k: v for number, item in enumerate(value) for k, v in below(item, f"{place}.{number}", None).items()}
        return {place: str(len(value))} | items
    return {place: json.dumps(defaults.plain(value))}
