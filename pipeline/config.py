"""Resolve an experiment and a preset into one frozen, validated specification.

An experiment file says what is trained, a recipe (`workflow/schedules`) how the paper trains it, a preset how large
everything is. An unknown key anywhere is an error that names the nearest known one.
"""

from __future__ import annotations

import hashlib
import types
import typing
from pathlib import Path
from typing import Any, Literal

import msgspec

from pipeline import paths
from pipeline.errors import InputError, nearest
from pipeline.files import read_yaml


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all options: immutable, no unknown keys."""


class PSConvOptions(Options):
    """PSConv in the backbone's 3x3 convolutions (PSConv, section 3)."""

    dilations: tuple[int, ...] = (1, 2, 1, 4)
    axes: Literal["both", "input", "output"] = "both"
    layout: Literal["block", "interleaved"] = "block"


class FusionOptions(Options):
    """Multi-scale fusion modules in the bottlenecks of conv3_x to conv5_x (MSFM, sections 3 and 4.2.6)."""

    positions: tuple[int, ...] = (2, 3)
    scales: tuple[float, ...] = (0.5, 0.7, 1.0, 1.4, 2.0)
    ratios: tuple[int, int, int] = (16, 32, 64)
    norm_groups: tuple[int, ...] = (4, 32)
    convs: int | tuple[int, ...] = 2
    fusion: Literal["add", "concat"] = "add"

    def __post_init__(self) -> None:
        """Raise ValueError where positions and norm groups do not pair up."""
        if len(self.positions) != len(self.norm_groups):
            raise ValueError(f"positions {self.positions} and norm_groups {self.norm_groups} must be equally many")


class CollageOptions(Options):
    """Dynamic scale training: when to feed collages, and of what (DST, section 3)."""

    feedback: Literal["regression_loss", "classification_loss", "joint_loss", "input_ratio", "random", "always"] = (
        "regression_loss"
    )
    threshold: float = 0.1
    components: int = 4
    interpolation: Literal["nearest", "bilinear"] = "nearest"
    keep_aspect: bool = False
    min_area: float = 0.0


class PyramidLevel(Options):
    """One resolution of an image pyramid; valid ranges are closed intervals on sqrt(w h) in original COCO pixels."""

    short_side: int
    long_side: int
    head_range: tuple[float, float | None] = (0.0, None)
    proposal_range: tuple[float, float | None] = (0.0, None)
    chip_size: int | None = None  # train on square chips of this side, on the 800-pixel scale


class SnipOptions(Options):
    """Scale normalisation for image pyramids (SNIP, section 5)."""

    starts_after: float = 3 / 7  # share of the schedule that is trained without valid ranges
    ignore_iou: float = 0.3


class Method(Options):
    """Composable factors of an experiment; a baseline has none."""

    global_scale: bool = False
    decomposed: bool = False
    psconv: PSConvOptions | None = None
    fusion: FusionOptions | None = None
    collage: CollageOptions | None = None
    short_sides: tuple[int, ...] | None = None  # multi-scale training, a side is drawn for every image
    small_loss_weight: float | None = None
    snip: SnipOptions | None = None


class Test(Options):
    """How a trained model is evaluated; lengths on the papers' 800-pixel scale."""

    short_sides: tuple[int, ...] = (800,)
    long_sides: tuple[int, ...] = (1333,)
    valid_ranges: tuple[tuple[float, float | None], ...] | None = None  # original COCO pixels, one a resolution
    merge: Literal["nms", "soft_nms"] = "nms"

    def __post_init__(self) -> None:
        """Raise ValueError where short sides, long sides and ranges do not pair up."""
        counts = {len(self.short_sides), len(self.long_sides), len(self.valid_ranges or self.short_sides)}
        if len(counts) != 1:
            raise ValueError("short_sides, long_sides and valid_ranges must be equally many")


class Notes(Options):
    """The lab note of an experiment: it changes nothing, and every experiment has one."""

    row: str
    differs: tuple[str, ...] = ()
    expected: dict[str, float] = {}
    cost: str = ""


class Experiment(Options):
    """Contents of `workflow/papers/<paper>/experiments/<name>.yaml`."""

    detector: Literal["faster_rcnn", "classifier"]
    backbone: Literal["resnet50", "resnet101"]
    dataset: Literal["coco", "imagenet"]
    recipe: str
    init: str
    notes: Notes
    neck: Literal["fpn", "c4", "none"] = "fpn"
    length: float = 1.0  # schedule as a multiple of the recipe's 1x
    method: Method = Method()
    pyramid: tuple[PyramidLevel, ...] = ()
    tests: dict[str, Test] = msgspec.field(default_factory=lambda: {"single": Test()})


class Recipe(Options):
    """How a paper trains: contents of `workflow/schedules/<recipe>.yaml`."""

    batch: int
    lr: float
    source: str
    epochs: float | None = None
    iterations: int | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[float, ...] = (8 / 12, 11 / 12)  # shares of the schedule
    gamma: float = 0.1
    warmup_iterations: int = 500
    warmup_ratio: float = 1 / 3
    gradient_clip: float | None = None
    norm: Literal["frozen", "frozen_statistics", "batch", "sync"] = "frozen_statistics"
    frozen_stages: int = 1
    short_side: int = 800
    long_side: int = 1333
    box_loss: Literal["smooth_l1", "l1"] = "l1"
    rpn_positive_iou: float = 0.7
    rpn_negative_iou: float = 0.3
    flip: float = 0.5


class Source(Options):
    """One split of a user's data: an instances JSON and its image folder, or a VOC folder and split name."""

    images: str = ""
    annotations: str = ""
    voc: str = ""
    split: str = ""
    years: tuple[str, ...] = ()


class Data(Options):
    """The data set of a preset."""

    kind: Literal["scaleworld", "coco", "voc"]
    train: Source = Source()
    val: Source = Source()
    train_images: int = 0  # ScaleWorld only
    val_images: int = 0
    seed: int = 0
    limit_train: int | None = None
    limit_val: int | None = None
    missing_images: Literal["error", "exclude"] = "error"
    may_publish_images: bool = False  # pictures of photographs stay out of git


class ModelSize(Options):
    """Size of the networks; the papers' own values are the defaults."""

    width: float = 1.0
    max_blocks: int | None = None
    fpn_channels: int = 256
    head_channels: int = 1024
    c4_stride: Literal[8, 16] = 16
    fusion_min_width: int = 1
    rpn_pre_nms_train: int = 2000
    rpn_post_nms_train: int = 1000
    rpn_pre_nms_test: int = 1000
    rpn_post_nms_test: int = 1000
    rpn_batch: int = 256
    roi_batch: int = 512
    c4_roi_batch: int = 512
    roi_samples: int = 2  # bilinear samples a RoI bin and axis
    detections: int = 100
    score_threshold: float = 0.05
    pad_divisor: int = 32  # of the size that a batch's images are padded to
    anchor_levels: int = 5


class Training(Options):
    """Length and precision of trainings; None keeps the recipe's value."""

    steps: int | None = None  # of 12 epochs; a recipe of 7 epochs gets 7 / 12 of them
    batch: int | None = None
    lr: float | None = None
    optimizer: Literal["sgd", "adamw"] | None = None
    warmup_steps: int | None = None
    norm: Literal["frozen", "frozen_statistics", "batch", "sync"] | None = None
    frozen_stages: int | None = None
    pretrain_steps: int | None = None
    pretrain_batch: int | None = None
    pretrain_lr: float | None = None
    pretrain_milestones: tuple[float, ...] | None = None
    pretrain_images: int = 0
    pretrain_size: int = 224
    gradient_clip: float | None = None
    log_rows: int = 200
    checkpoint_rows: int = 10  # checkpoints a training
    scale_images: int = 500  # images over which GSL's scales are averaged
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    workers: int = 0


class Verdicts(Options):
    """Thresholds of the verdict rule."""

    min_baseline_ap50: float = 0.2
    draws: int = 200


class Preset(Options):
    """How large everything is: contents of `workflow/presets/<name>.yaml`."""

    name: str
    title: str
    data: Data
    factor: float  # of every length on the papers' 800-pixel scale
    original_factor: float | None = None  # of lengths in original COCO pixels, where the files' differ from `factor`
    model: ModelSize = ModelSize()
    training: Training = Training()
    verdicts: Verdicts = Verdicts()
    threads: int = 0  # 0 = torch's own choice
    seed: int = 0
    init_source: Literal["pretrain", "torchvision"] = "torchvision"

    @property
    def pixel_factor(self) -> float:
        """Factor of lengths in original pixels: 32^2 and 96^2 of COCO's sizes, SNIP's valid ranges."""
        return self.original_factor or self.factor


class Spec(Options):
    """A resolved experiment: everything that decides a training's result, and nothing else."""

    name: str
    paper: str
    experiment: Experiment
    recipe: Recipe
    preset: Preset

    @property
    def steps(self) -> int:
        """Optimiser steps of this training; papers that count epochs are resolved by the data's size at run time."""
        training, recipe, length = self.preset.training, self.recipe, self.experiment.length
        if training.steps is not None:
            return max(1, round(training.steps * length * coco_epochs(recipe) / 12))
        if recipe.iterations is not None:
            return round(recipe.iterations * length)
        raise InputError(
            f"{self.name} counts epochs, and preset {self.preset.name} names no steps; use `epoch_steps(spec, images)`."
        )

    @property
    def batch(self) -> int:
        return self.preset.training.batch or self.recipe.batch

    @property
    def lr(self) -> float:
        """The learning rate: the preset's, or the recipe's scaled linearly with the batch."""
        return self.preset.training.lr or self.recipe.lr * self.batch / self.recipe.batch

    @property
    def norm(self) -> str:
        return self.preset.training.norm or self.recipe.norm

    @property
    def frozen_stages(self) -> int:
        """Stages that stay as initialised, the stem included; -1 freezes nothing."""
        frozen = self.preset.training.frozen_stages
        return self.recipe.frozen_stages if frozen is None else frozen

    @property
    def seed(self) -> int:
        """A seed of its own for every experiment and preset seed, so that equal baselines are independent runs."""
        digest = hashlib.sha256(f"{self.name}/{self.preset.seed}".encode()).digest()
        return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF

    @property
    def digest(self) -> str:
        """Hash of all resolved parameters that a training depends on: the key of its checkpoints."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


def coco_epochs(recipe: Recipe) -> float:
    """Return the length of a recipe's 1x in epochs of COCO's 118,287 images; 12 are what presets call `steps`."""
    return recipe.epochs if recipe.epochs is not None else recipe.iterations * recipe.batch / 118_287


def epoch_steps(spec: Spec, images: int) -> int:
    """Return the optimiser steps of a training on `images` training images."""
    if spec.preset.training.steps is not None or spec.recipe.iterations is not None:
        return spec.steps
    return max(1, round(spec.recipe.epochs * spec.experiment.length * images / spec.batch))


def resolve(experiment: str, preset: str) -> Spec:
    """Return the specification of an experiment under a preset, both by name.

    Raises:
        InputError: an unknown experiment, preset, recipe or key; the nearest known name is in the sentence.
    """
    path = paths.ROOT / paths.experiment_file(experiment)
    if not path.is_file():
        known = [*experiments(), *(p.stem for p in (paths.ROOT / "workflow/inits").glob("*.yaml"))]
        raise InputError(f"Unknown experiment {experiment!r}{nearest(experiment, known)} (workflow/papers lists all).")
    loaded = load(path, Experiment)
    recipe_path = paths.ROOT / paths.recipe_file(loaded.recipe)
    if not recipe_path.is_file():
        known = [p.stem for p in recipe_path.parent.glob("*.yaml")]
        raise InputError(f"{relative(path)} names the unknown recipe {loaded.recipe!r}{nearest(loaded.recipe, known)}.")
    return Spec(experiment, paths.paper_of(experiment), loaded, load(recipe_path, Recipe), load_preset(preset))


def load_preset(name: str) -> Preset:
    """Return a preset by name. Raises InputError where it is unknown or inconsistent."""
    path = paths.ROOT / paths.preset_file(name)
    if not path.is_file():
        known = [p.stem for p in path.parent.glob("*.yaml")]
        raise InputError(f"Unknown preset {name!r}{nearest(name, known)}; workflow/presets holds {sorted(known)}.")
    preset = load(path, Preset)
    if preset.name != name:
        raise InputError(f"{relative(path)} calls itself {preset.name!r}; its `name` must be the file's name.")
    if not 0 < preset.factor <= 4:
        raise InputError(f"{relative(path)}: factor must lie in (0, 4], found {preset.factor}; 1 is COCO's size.")
    return preset


def active_preset() -> str:
    """Return the preset's name in params.yaml."""
    params = read_yaml(paths.PARAMS)
    if not isinstance(params, dict) or not isinstance(params.get("preset"), str):
        raise InputError(f"{paths.PARAMS} must hold `preset: NAME`, for example `preset: mini`.")
    unknown = sorted(set(params) - {"preset"})
    if unknown:
        raise InputError(f"{paths.PARAMS} holds the unknown key {unknown[0]!r}{nearest(unknown[0], ['preset'])}.")
    return params["preset"]


def experiments(paper: str | None = None) -> list[str]:
    """Return the names of all experiments, or of one paper's, sorted."""
    folder = paths.ROOT / "workflow/papers"
    return sorted(p.stem for p in folder.glob(f"{paper or '*'}/experiments/*.yaml"))


def load(path: Path, kind: type) -> Any:
    """Read a YAML file as `kind`. Raises InputError naming file, key and the nearest known key."""
    raw = read_yaml(path)
    check_keys(raw, kind, relative(path))
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{relative(path)}: {error}; correct this value.") from error


def check_keys(value: Any, kind: Any, where: str) -> None:
    """Raise InputError for the first key that `kind` does not have, naming the nearest that it has."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        for part in typing.get_args(kind):
            check_keys(value, part, where)
        return
    if typing.get_origin(kind) in (dict, tuple) and typing.get_args(kind):
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        parts = [p for p in typing.get_args(kind) if p is not Ellipsis]
        for key, item in items:
            check_keys(item, parts[-1], f"{where}: {key}")
        return
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return
    if not isinstance(value, dict):
        if value is not None:
            raise InputError(f"{where} must be a mapping of {list(kind.__struct_fields__)}, found {value!r}.")
        return
    hints = typing.get_type_hints(kind)
    for key, item in value.items():
        if key not in hints:
            raise InputError(f"{where}: unknown key {key!r}{nearest(str(key), hints)}; known are {sorted(hints)}.")
        check_keys(item, hints[key], f"{where}: {key}")


def relative(path: Path) -> str:
    """Return a path below the project's root as text, for messages."""
    return str(path.relative_to(paths.ROOT)) if path.is_relative_to(paths.ROOT) else str(path)
