"""Options of a preset: how large everything is, and on which data."""

from __future__ import annotations

from typing import Literal

from msgspec import field
from msgspec.structs import replace

from pipeline.bounds import (
    Average,
    Candidates,
    Channels,
    Count,
    CountOrZero,
    Draws,
    Factor,
    Few,
    Part,
    Positive,
    Rate,
    Samples,
    Seed,
    Share,
    Side,
    Stages,
    Threads,
)
from pipeline.options import Neck, Options


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
    categories: tuple[str, ...] = ()  # the only ones that are kept, by name; all where none is named
    train_images: CountOrZero = 0  # ScaleWorld only
    val_images: CountOrZero = 0
    seed: Seed = 0
    limit_train: Count | None = None
    limit_val: Count | None = None
    missing_images: Literal["error", "exclude"] = "error"
    # What the numbers of a box are; None: x, y, width, height in pixels (COCO), corners (VOC). pipeline/data/boxes.py
    boxes: Literal["xywh", "xyxy", "cxcywh", "normalised", "normalised_xyxy", "normalised_cxcywh"] | None = None
    exif: Literal["auto", "upright", "stored"] = "auto"  # how pictures with an EXIF orientation were annotated
    links: Literal["inside", "follow"] = "inside"  # whether links may leave the image folder
    max_megapixels: Positive = 100.0  # of one picture: up to 1.5 GB while it is decoded
    may_publish_images: bool = False  # pictures of photographs stay out of git


AS_FOUND = Data(kind="coco")  # how data is read where no preset says anything of it


class LabelledSource(Options):
    """Labelled images of a classifier: folders of one class each, a split file, or CIFAR-100's binary version."""

    kind: Literal["folder", "split", "cifar100"] = "folder"
    train: str = ""  # folder with a sub-folder a class, or train.bin; kind `folder` without one: ImageNet's, where
    val: str = ""  # the machine has it (params.yaml). Folder with the same sub-folders, or test.bin
    images: str = ""  # folder that the file names of a split file start from
    split: str = ""  # CSV file with the columns split (train, val), file and class
    limit_classes: Count | None = None  # the first classes only
    limit_train: Count | None = None  # images of each class
    limit_val: Count | None = None


class ModelSize(Options):
    """Size of the networks; the papers' own values are the defaults."""

    width: Factor = 1.0
    depth: Factor = 1.0  # of the blocks of a stage
    min_blocks: Few = 1  # that a lesser depth leaves of them
    fpn_channels: Channels = 256
    head_channels: Channels = 1024
    c4_stride: Literal[8, 16] = 16
    dense_stride: Literal[4, 8] = 8  # of the finest level that detectors without proposals predict on
    dense_norm: bool = False  # group normalisation in all of their towers, and He's start: both speed learning up
    fusion_min_width: Channels = 1
    rpn_pre_nms_train: Candidates = 2000  # of each level of a feature pyramid; a single level has several times as many
    rpn_post_nms_train: Candidates = 1000
    rpn_pre_nms_test: Candidates = 1000
    rpn_post_nms_test: Candidates = 1000
    rpn_batch: Candidates = 256
    roi_batch: Candidates = 512
    c4_roi_batch: Candidates = 512
    roi_samples: Samples | None = None  # bilinear samples a RoI bin and axis; None keeps the recipe's
    detections: Candidates = 100
    score_threshold: Share = 0.05
    pad_divisor: Few = 32  # of the size that a batch's images are padded to

    def planes(self, stage: int) -> int:
        """Return the width of a ResNet's bottlenecks in conv`stage`_x, from 2 on: 64 in the papers' conv2_x."""
        return max(8, round(64 * self.width)) * 2 ** (stage - 2)

    def blocks(self, count: int) -> int:
        """Return how many blocks a stage has that has `count` in the papers."""
        return max(min(count, self.min_blocks), round(count * self.depth))

    def fusion_ratio(self, channels: int, ratio: int) -> int:
        """Return by how much a fusion module squeezes: narrow presets would end at one or two channels without it."""
        return min(ratio, max(1, channels // self.fusion_min_width))


class Training(Options):
    """Length and precision of trainings; None keeps the recipe's value."""

    steps: Count | None = None  # of 12 epochs at one resolution; 7 epochs get 7 / 12, a pyramid as often as its units
    recipe_steps: dict[str, Count] = field(default_factory=dict)  # by recipe, in the place of `steps`
    batch: Count | None = None
    lr: Rate | None = None
    optimizer: str | None = None  # a file of pipeline/training/optimizers
    warmup_steps: CountOrZero | None = None  # of a linear warm-up in the place of the recipe's
    norm: Literal["frozen", "frozen_statistics", "batch", "sync"] | None = None
    frozen_stages: Stages | None = None
    milestones: tuple[Part, ...] | None = None  # of detectors
    pretrain_steps: Count | None = None
    pretrain_batch: Count | None = None
    pretrain_lr: Rate | None = None
    pretrain_milestones: tuple[Part, ...] | None = None
    pretrain_images: CountOrZero = 0
    pretrain_size: Side = 224  # pixels that 224 of a classifier's recipe become
    pretrain_seeds: Few | None = None  # at most so many blocks of a classifier whose paper has several
    gradient_clip: Positive | None = None
    accumulate: Few = 1  # batches whose gradients make one optimiser step
    ema: Average | None = None  # decay of a moving average of the weights, which is what is saved and evaluated then
    log_rows: Count = 200
    checkpoint_rows: Count = 10  # checkpoints a training
    validate_epochs: CountOrZero = 0  # between two validations while a detector trains; 0: none
    scale_images: Count = 500  # images over which GSL's scales are averaged
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    # Divide losses by the mean count of positives or samples over processes, so that several processes compute the
    # joint batch's gradients; the papers' codes divide by each process's own.
    reduce_normaliser: bool = False
    compile: bool = False  # backbone and pyramid of a detector by torch.compile, which rounds differently


class Verdicts(Options):
    """Thresholds of the verdict rule."""

    min_baseline_ap50: Share = 0.2
    draws: Draws = 200
    judge: bool = True  # False: one short training each shows that everything runs, and decides nothing


class Preset(Options):
    """How large everything is: contents of `workflow/presets/<name>.yaml`."""

    name: str
    title: str
    data: Data
    factor: Factor  # of every length on the papers' 800-pixel scale
    # Sides in the files' pixels below which objects are small, and from which they are large, where classes are scored.
    sizes: Literal["coco"] | tuple[Positive, Positive] = "coco"
    original_factor: Factor | None = None  # of lengths in original COCO pixels, where the files' differ from `factor`
    model: ModelSize = ModelSize()
    training: Training = Training()
    verdicts: Verdicts = Verdicts()
    leaves_out: tuple[str, ...] = ()  # what the quickstart goes without in `build/<preset>`
    shares: dict[str, str] = field(default_factory=dict)  # there, experiments whose results another one's stand for
    search_sweeps: Samples = 3  # over the ends of a pyramid's valid ranges, at most; 0 searches nothing
    threads: Threads = 0  # 0 = torch's own choice
    seed: Seed = 0
    blocks: Few = 1  # trainings of every experiment, which differ in their seed only
    grows: bool = False  # more blocks may be asked for later: a single one, too, is kept beside them
    headline_blocks: Few | None = None  # of those that the headline rests on, where these are more
    neck_blocks: dict[Neck, Few] = field(default_factory=dict)  # instead, of the headline's experiments with a neck
    init_source: Literal["pretrain", "torchvision"] = "torchvision"
    # By the experiments' data set; without one, classifiers learn from crops of the preset's own objects.
    labelled: dict[Literal["imagenet", "cifar100"], LabelledSource] | None = None
    # Data of the experiments on another data set than COCO; without an entry they see the preset's `data` too.
    datasets: dict[Literal["voc"], Data] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where sizes do not rise."""
        if self.sizes != "coco" and not self.sizes[0] < self.sizes[1]:
            raise ValueError(f"sizes are two lengths in pixels, the smaller one first, got {list(self.sizes)}")

    @property
    def pixel_factor(self) -> float:
        """Factor of lengths in original pixels: 32^2 and 96^2 of COCO's sizes, SNIP's valid ranges."""
        return self.original_factor or self.factor

    def of_recipe(self, recipe: str) -> Preset:
        """Return the preset with the steps that it has for a recipe as its `steps`."""
        if not self.training.recipe_steps:
            return self
        steps = self.training.recipe_steps.get(recipe, self.training.steps)
        return replace(self, training=replace(self.training, steps=steps, recipe_steps={}))

    def data_of(self, dataset: str) -> Data:
        """Return the data that experiments on a data set (`coco`, `voc`) see."""
        return (self.datasets or {}).get(dataset, self.data)
