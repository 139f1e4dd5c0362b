"""Options of an experiment and of a recipe, as their YAML files hold them."""

from __future__ import annotations

from typing import Literal

import msgspec


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
