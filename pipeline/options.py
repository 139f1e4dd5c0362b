"""Options of an experiment and of a recipe, as their YAML files hold them."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from pipeline.bounds import (
    Candidates,
    Count,
    CountOrZero,
    Decay,
    Factor,
    Few,
    Margin,
    Part,
    Pixels,
    Positive,
    Rate,
    Samples,
    Share,
    Side,
    Stages,
)


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all options: immutable, no unknown keys."""


class PSConvOptions(Options):
    """PSConv in the backbone's 3x3 convolutions (PSConv, section 3)."""

    dilations: Annotated[tuple[Few, ...], Meta(min_length=1)] = (1, 2, 1, 4)
    axes: Literal["both", "input", "output"] = "both"
    layout: Literal["block", "interleaved"] = "block"
    neck: bool = False  # in the 3x3 convolutions of the feature pyramid too (footnote 4)
    learnable_mask: bool = False  # which of two dilations a kernel has is learnt, whatever axes and layout (4.2)


class FusionOptions(Options):
    """Multi-scale fusion modules in the bottlenecks of conv3_x to conv5_x (MSFM, sections 3 and 4.2.6)."""

    positions: tuple[int, ...] = (2, 3)
    scales: Annotated[tuple[Factor, ...], Meta(min_length=1)] = (0.5, 0.7, 1.0, 1.4, 2.0)
    ratios: tuple[Few, Few, Few] = (16, 32, 64)
    norm_groups: tuple[Few, ...] = (4, 32)
    convs: Few | tuple[Few, ...] = 2
    fusion: Literal["add", "concat"] = "add"

    def __post_init__(self) -> None:
        """Raise ValueError where positions and norm groups do not pair up."""
        if len(self.positions) != len(self.norm_groups):
            raise ValueError(f"positions {self.positions} and norm_groups {self.norm_groups} must be equally many")
        if len(set(self.positions)) < len(self.positions) or not set(self.positions) <= {1, 2, 3}:
            raise ValueError(f"positions must be different ones of 1, 2 and 3, got {self.positions}")


class DeformableOptions(Options):
    """Deformable 3x3 convolutions of the first kind in the backbone: offsets, no masks (MSFM, table 4; DST, table 7).

    Offset groups share one field of offsets among their input channels: MMDetection's 1, Deformable R-FCN's 4.
    """

    stages: tuple[int, ...] = (3, 4, 5)  # conv3_x to conv5_x
    offset_groups: Few = 1

    def __post_init__(self) -> None:
        """Raise ValueError where a stage does not exist."""
        check_stages(self.stages)


def check_stages(stages: tuple[int, ...]) -> None:
    """Raise ValueError where stages are not different ones of conv2_x to conv5_x, written 2 to 5."""
    if not stages or len(set(stages)) < len(stages) or not set(stages) <= {2, 3, 4, 5}:
        raise ValueError(f"stages must be different ones of 2, 3, 4 and 5 (conv2_x to conv5_x), got {stages}")


class CollageOptions(Options):
    """Dynamic scale training: when to feed collages, and of what (DST, section 3)."""

    feedback: Literal[
        "regression_loss",
        "classification_loss",  # of positives, over that of positives
        "classification_loss_all",  # of positives, over that of all sampled RoIs or anchors
        "joint_loss",
        "input_ratio",
        "random",
        "always",
        "never",
    ] = "regression_loss"
    threshold: Share = 0.1
    components: Literal[1, 4, 9] = 4
    interpolation: Literal["nearest", "nearest-exact", "bilinear", "bicubic", "area"] = "nearest"
    keep_aspect: bool = False
    min_area: Pixels = 0.0
    reduce: bool = False  # one decision for all processes; the authors' code lets each decide alone

    def __post_init__(self) -> None:
        """Raise ValueError where the threshold is no share."""
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is a share of a loss and must lie in [0, 1], got {self.threshold}")


class PyramidLevel(Options):
    """One resolution of an image pyramid; valid ranges are closed intervals on sqrt(w h) in original COCO pixels."""

    short_side: Side
    long_side: Side
    head_range: tuple[Pixels, Pixels | None] = (0.0, None)
    proposal_range: tuple[Pixels, Pixels | None] = (0.0, None)
    chip_size: Side | None = None  # train on square chips of this side, on the 800-pixel scale
    chips: Literal["sampled", "grid"] = "sampled"  # SNIP's best of 50 random ones, or SNIPER's cover by those of a grid
    chip_stride: tuple[Side, Side] = (56, 59)  # of the grid, drawn for every image between the two as SNIPER does

    def __post_init__(self) -> None:
        """Raise ValueError where a range or the strides end before they start."""
        for name in ("head_range", "proposal_range", "chip_stride"):
            low, high = getattr(self, name)
            if high is not None and high < low:
                raise ValueError(f"{name} must end at or above its start, got {low} to {high}")
        if self.chip_stride[0] < 1:
            raise ValueError(f"chip_stride must be at least 1 pixel, got {self.chip_stride[0]}")


class SnipOptions(Options):
    """Scale normalisation for image pyramids (SNIP, section 6.1)."""

    starts_after: Share = 3 / 7  # share of the epochs that are multi-scale training without valid ranges and chips
    ignore_iou: Share = 0.3


class Method(Options):
    """Composable factors of an experiment; a baseline has none."""

    global_scale: bool = False
    decomposed: bool = False
    scale_stages: tuple[int, ...] = (3, 4, 5)  # of GSL and FD; with 2 it is the conv2 control of POD, section 3.1
    psconv: PSConvOptions | None = None
    deformable: DeformableOptions | None = None
    fusion: FusionOptions | None = None
    collage: CollageOptions | None = None
    # Multi-scale training: a side is drawn for every image.
    short_sides: Annotated[tuple[Side, ...], Meta(min_length=1)] | None = None
    small_loss_reweight: bool = False  # small objects' regression loss amplified to equal the others' (DST, table 1)
    snip: SnipOptions | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where two layers want the place of one 3x3 convolution."""
        check_stages(self.scale_stages)
        wanted = {
            "global_scale": self.global_scale,
            "decomposed": self.decomposed,
            "psconv": self.psconv is not None,
            "deformable": self.deformable is not None,
        }
        chosen = [name for name, is_set in wanted.items() if is_set]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} both replace the 3x3 convolutions; keep one")


class Test(Options):
    """How a trained model is evaluated; lengths on the papers' 800-pixel scale."""

    short_sides: Annotated[tuple[Side, ...], Meta(min_length=1)] = (800,)
    long_sides: Annotated[tuple[Side, ...], Meta(min_length=1)] = (1333,)
    # Original COCO pixels, one a resolution.
    valid_ranges: Annotated[tuple[tuple[Pixels, Pixels | None], ...], Meta(min_length=1)] | None = None
    search_ranges: bool = False  # from `valid_ranges` on, for each half of the images on the other (SNIP, section 7.3)
    merge: Literal["nms", "soft_nms", "soft_nms_linear"] = "nms"
    flip: bool = False  # mirrored images too; a d_rfcn_rcn averages each region's two looks
    members: tuple[str, ...] = ()  # further d_rfcn_rcn experiments whose looks at the same regions are averaged in
    proposals: str | None = None  # of another experiment than the one that a d_rfcn_rcn was trained on

    def __post_init__(self) -> None:
        """Raise ValueError where short sides, long sides and ranges do not pair up."""
        counts = {len(self.short_sides), len(self.long_sides), len(self.valid_ranges or self.short_sides)}
        if len(counts) != 1:
            raise ValueError("short_sides, long_sides and valid_ranges must be equally many")
        if self.search_ranges and len(self.short_sides) == 1:
            raise ValueError("search_ranges needs several short_sides; a single resolution has no ranges")


class Difference(Options):
    """Where a recipe or an experiment is not the paper's, or where the paper leaves a choice."""

    what: str  # differs, and why: one sentence without its full stop
    effect: str = ""  # expected, on accuracy or cost; empty where none is known
    keys: tuple[str, ...] = ()  # patterns of the resolved options that it accounts for (tests/experiments/authors.yaml)
    of: tuple[str, ...] = ("*",)  # patterns of the names of a recipe's experiments that it concerns


Differs = tuple[str | Difference, ...]  # a sentence alone is a `Difference` of which nothing more is known


class Notes(Options):
    """The lab note of an experiment: it changes nothing, and every experiment has one."""

    row: str
    differs: Differs = ()
    expected: dict[str, float] = {}
    cost: str = ""


class RegionClassifier(Options):
    """Classifier of a Deformable R-FCN, on the proposals of another experiment (SNIP, sections 4 and 7.1)."""

    pooling: Literal["plain", "bilinear", "deformable"] = "bilinear"  # bins, samples, offsets
    hard_examples: Candidates | None = 128  # RoIs of an image that online hard example mining keeps, None: all
    nms: Part = 0.5  # IoU of the final suppression; 0.3 in SNIP's tables 1 and 2
    second_backbone: str | None = None  # of a joint network, which takes its boxes from the first (section 7.3)
    second_init: str | None = None  # of that backbone; without one it starts at random

    def __post_init__(self) -> None:
        """Raise ValueError where an init has no backbone to start."""
        if self.second_init is not None and self.second_backbone is None:
            raise ValueError(f"second_init {self.second_init!r} starts a second_backbone, and none is named")


class ProposalNetwork(Options):
    """Region proposal network trained alone (SNIP, section 7.2); sides of anchors on the papers' 800-pixel scale."""

    features: Literal["conv4", "conv45"] = "conv4"
    anchors: Annotated[tuple[Side, ...], Meta(min_length=1)] = (32, 64, 128, 256, 512)
    top: Candidates = 300  # proposals that are kept of an image at each resolution (section 7.3)


class Resolutions(Options):
    """Image sizes of a classifier in SNIP's section 3, in pixels where a standard crop has 224."""

    side: Side = 224  # of network inputs, in training and test
    reduced: Side | None = None  # training images are reduced to this side and enlarged to `side` again
    tests: tuple[Side, ...] = ()  # test images are reduced to each of these sides and enlarged to `side` again


Neck = Literal["fpn", "c4", "none"]
Backbone = Literal[
    "resnet50",
    "resnet101",
    "resnext50_32x4d",
    "resnext101_32x4d",
    "resnext101_32x8d",
    "se_resnet50",
    "se_resnet101",
    "resnext29_8x64d",
    "resnext29_16x64d",
    "dpn92",
    "dpn98",
]
BACKBONES = get_args(Backbone)


class Experiment(Options):
    """Contents of `workflow/papers/<paper>/experiments/<name>.yaml`."""

    detector: Literal[
        "faster_rcnn",
        "mask_rcnn",
        "cascade_rcnn",
        "cascade_mask_rcnn",
        "grid_rcnn",
        "dynamic_rcnn",
        "retinanet",
        "fcos",
        "reppoints",
        "d_rfcn_rcn",
        "d_rfcn_rpn",
        "classifier",
    ]
    backbone: Backbone
    dataset: Literal["coco", "voc", "imagenet", "cifar100"]
    recipe: str
    init: str
    notes: Notes
    like: str | None = None  # a shallower init; where a preset's cut depth makes both one network, its weights serve
    neck: Neck = "fpn"
    length: Positive = 1.0  # schedule as a multiple of the recipe's 1x
    method: Method = Method()
    stem: Literal["standard", "small_48", "small_96"] = "standard"  # first convolution, SNIP's CNN-S for small images
    resolutions: Resolutions | None = None  # classifiers that are trained or tested on reduced images
    region: RegionClassifier | None = None  # d_rfcn_rcn only
    rpn: ProposalNetwork | None = None  # d_rfcn_rpn only
    proposals: str | None = None  # experiment whose proposals a d_rfcn_rcn is trained and tested on
    seeds: Few = 1  # trainings of a classifier whose mean the paper prints
    pyramid: tuple[PyramidLevel, ...] = ()
    tests: dict[str, Test] = msgspec.field(default_factory=lambda: {"single": Test()})

    @property
    def has_masks(self) -> bool:
        """Whether the detector learns and predicts a mask of every object."""
        return self.detector in ("mask_rcnn", "cascade_mask_rcnn")


class LabelledImages(Options):
    """How a classifier's images are cropped and normalised; pixels are those of the recipe's `short_side`."""

    crop: Literal["resized", "padded"] = "resized"  # random area and aspect ratio, or a shift inside zero padding
    crop_area: tuple[Part, Part] = (0.08, 1.0)  # share of the image
    crop_aspect: tuple[Factor, Factor] = (3 / 4, 4 / 3)
    padding: Margin = 4
    colour: Share = 0.0  # largest relative change of brightness, contrast and saturation
    colour_until: Share = 1.0  # share of the training after which colours stay as they are
    resize: Side = 256  # short side of test images, before the centre crop
    mean: tuple[Share, Share, Share] = (0.485, 0.456, 0.406)
    std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)
    keep: Literal["last", "best"] = "last"  # which epoch's weights become the init


class Recipe(Options):
    """How a paper trains: contents of `workflow/schedules/<recipe>.yaml`."""

    batch: Count
    lr: Rate
    source: str
    epochs: Positive | None = None
    iterations: Count | None = None
    optimizer: str = "sgd"  # a file of pipeline/training/optimizers
    momentum: Decay = 0.9
    nesterov: bool = False
    weight_decay: Share = 1e-4
    decay_all: bool = False  # biases and norms decay too
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[Part, ...] = (8 / 12, 11 / 12)  # shares of the schedule's epochs
    gamma: Part = 0.1
    warmup_iterations: CountOrZero = 500
    warmup: Literal["linear", "constant"] = "linear"  # from `warmup_ratio` of the rate up to it, or at that and a jump
    warmup_ratio: Share = 1 / 3
    gradient_clip: Positive | None = None
    norm: Literal["frozen", "frozen_statistics", "batch", "sync"] = "frozen_statistics"
    frozen_stages: Stages = 1
    short_side: Side = 800
    long_side: Side = 1333
    box_loss: Literal["smooth_l1", "l1"] = "l1"
    rpn_box_loss: Literal["smooth_l1", "l1"] = "smooth_l1"  # with beta 1/9; families of `SMOOTH_RPN` have no other
    roi_samples: Samples = 2  # bilinear samples a RoI bin and axis; 0: as many as the bin has feature pixels
    new_layers: Literal["family", "he"] = "family"  # how layers start that no init holds: as the family's own code
    rpn_positive_iou: Share = 0.7
    rpn_negative_iou: Share = 0.3
    flip: Share = 0.5
    labelled: LabelledImages = LabelledImages()  # classifiers only
    differs: Differs = ()  # from the paper, in all experiments of this recipe or in those that `of` names

    def __post_init__(self) -> None:
        """Raise ValueError where an anchor would be both object and background."""
        if self.rpn_negative_iou > self.rpn_positive_iou:
            raise ValueError(
                f"rpn_negative_iou must not exceed rpn_positive_iou, got {self.rpn_negative_iou} and "
                f"{self.rpn_positive_iou}"
            )
