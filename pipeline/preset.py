"""Options of a preset: how large everything is, and on which data."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from pipeline.options import Options


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
    train_images: int = 0  # ScaleWorld only
    val_images: int = 0
    seed: int = 0
    limit_train: int | None = None
    limit_val: int | None = None
    missing_images: Literal["error", "exclude"] = "error"
    # What the numbers of a box are; None: x, y, width, height in pixels (COCO), corners (VOC). pipeline/data/boxes.py
    boxes: Literal["xywh", "xyxy", "cxcywh", "normalised", "normalised_xyxy", "normalised_cxcywh"] | None = None
    exif: Literal["auto", "upright", "stored"] = "auto"  # how pictures with an EXIF orientation were annotated
    links: Literal["inside", "follow"] = "inside"  # whether links may leave the image folder
    max_megapixels: float = 100.0  # of one picture: up to 1.5 GB while it is decoded
    may_publish_images: bool = False  # pictures of photographs stay out of git


AS_FOUND = Data(kind="coco")  # how data is read where no preset says anything of it


class LabelledSource(Options):
    """Labelled images of a classifier: folders of one class each, a split file, or CIFAR-100's binary version."""

    kind: Literal["folder", "split", "cifar100"] = "folder"
    train: str = ""  # folder with a sub-folder a class, or train.bin; kind `folder` without one: ImageNet's, where
    val: str = ""  # the machine has it (params.yaml). Folder with the same sub-folders, or test.bin
    images: str = ""  # folder that the file names of a split file start from
    split: str = ""  # CSV file with the columns split (train, val), file and class
    limit_classes: int | None = None  # the first classes only
    limit_train: int | None = None  # images of each class
    limit_val: int | None = None


class ModelSize(Options):
    """Size of the networks; the papers' own values are the defaults."""

    width: float = 1.0
    max_blocks: int | None = None
    fpn_channels: int = 256
    head_channels: int = 1024
    c4_stride: Literal[8, 16] = 16
    dense_stride: Literal[4, 8] = 8  # of the finest level that detectors without proposals predict on
    dense_norm: bool = False  # group normalisation in all of their towers, and He's start: both speed learning up
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
    optimizer: str | None = None  # a file of pipeline/training/optimizers
    warmup_steps: int | None = None
    norm: Literal["frozen", "frozen_statistics", "batch", "sync"] | None = None
    frozen_stages: int | None = None
    milestones: tuple[float, ...] | None = None  # of detectors
    pretrain_steps: int | None = None
    pretrain_batch: int | None = None
    pretrain_lr: float | None = None
    pretrain_milestones: tuple[float, ...] | None = None
    pretrain_images: int = 0
    pretrain_size: int = 224  # pixels that 224 of a classifier's recipe become
    pretrain_seeds: int | None = None  # at most so many trainings of a classifier with several seeds
    gradient_clip: float | None = None
    accumulate: int = 1  # batches whose gradients make one optimiser step
    ema: float | None = None  # decay of a moving average of the weights, which is what is saved and evaluated then
    log_rows: int = 200
    checkpoint_rows: int = 10  # checkpoints a training
    scale_images: int = 500  # images over which GSL's scales are averaged
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    # Divide losses by the mean count of positives or samples over processes, so that several processes compute the
    # joint batch's gradients; the papers' codes divide by each process's own.
    reduce_normaliser: bool = False


class Verdicts(Options):
    """Thresholds of the verdict rule."""

    min_baseline_ap50: float = 0.2
    draws: int = 200
    judge: bool = True  # False: one short training each shows that everything runs, and decides nothing


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
    leaves_out: tuple[str, ...] = ()  # what the quickstart goes without in `build/<preset>`
    shares: dict[str, str] = field(default_factory=dict)  # there, experiments whose results another one's stand for
    threads: int = 0  # 0 = torch's own choice
    seed: int = 0
    init_source: Literal["pretrain", "torchvision"] = "torchvision"
    # By the experiments' data set; without one, classifiers learn from crops of the preset's own objects.
    labelled: dict[Literal["imagenet", "cifar100"], LabelledSource] | None = None
    # Data of the experiments on another data set than COCO; without an entry they see the preset's `data` too.
    datasets: dict[Literal["voc"], Data] | None = None

    @property
    def pixel_factor(self) -> float:
        """Factor of lengths in original pixels: 32^2 and 96^2 of COCO's sizes, SNIP's valid ranges."""
        return self.original_factor or self.factor

    def data_of(self, dataset: str) -> Data:
        """Return the data that experiments on a data set (`coco`, `voc`) see."""
        return (self.datasets or {}).get(dataset, self.data)
