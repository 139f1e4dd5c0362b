"""A classifier's labelled images: their source, their sizes, and batches that depend on step and seed only."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.data.labelled import transforms
from pipeline.data.samplers import BatchStream
from pipeline.data.transforms import generator
from pipeline.errors import InputError
from pipeline.machine import machine
from pipeline.options import Resolutions
from pipeline.parts import load
from pipeline.preset import LabelledSource
from pipeline.spec import Spec
from pipeline.training.distributed import ALONE, World

if TYPE_CHECKING:
    from pipeline.data.labelled.cifar import LabelledPixels
    from pipeline.data.labelled.image_folder import LabelledFiles

Labelled: TypeAlias = "LabelledFiles | LabelledPixels"
AUGMENTATION = 1  # number of the random stream
TEST_BATCH = 100


class Sizes(NamedTuple):
    """Pixels of a classifier's images under a preset."""

    side: int  # network input
    reduced: int | None  # side that training images, and those of the main test, are reduced to first
    crop: int  # centre crop of test images, before they are reduced
    resize: int  # short side of test images, before the crop
    padding: int
    tests: dict[str, int]  # side that test images are reduced to first, by its name in the paper


def image_sizes(spec: Spec) -> Sizes:
    """Return the sizes of an experiment's images, which are the recipe's times `pretrain_size` / 224."""
    scale = spec.preset.training.pretrain_size / 224

    def pixels(length: float) -> int:
        return max(1, round(length * scale))

    recipe, wanted = spec.recipe, spec.experiment.resolutions or Resolutions(side=spec.recipe.short_side)
    return Sizes(
        side=pixels(wanted.side),
        reduced=None if wanted.reduced is None else pixels(wanted.reduced),
        crop=pixels(recipe.short_side),
        resize=pixels(recipe.labelled.resize),
        padding=pixels(recipe.labelled.padding),
        tests={str(side): pixels(side) for side in wanted.tests},
    )


def read_labelled(source: LabelledSource) -> tuple[Labelled, Labelled]:
    """Read training and validation images, and report on stderr how many are left out.

    Raises:
        InputError: files are missing or wrong; the sentence names file and rule.
    """
    if source.kind == "cifar100":
        cifar = load("cifar")
        splits = [
            cifar.first_of_each_class(cifar.read_cifar100(Path(path)), source.limit_classes, limit)
            for path, limit in ((source.train, source.limit_train), (source.val, source.limit_val))
        ]
    elif source.kind == "split":
        if source.limit_classes or source.limit_train or source.limit_val:
            raise InputError("A split file lists what is used; take rows out of it instead of setting limits.")
        root, file = Path(source.images), Path(source.split)
        read_split = load("image_folder").read_split
        train = read_split(file, root, "train")
        splits = [train, read_split(file, root, "val", train.classes)]
    else:
        read_folder, imagenet = load("image_folder").read_folder, machine().imagenet
        root = Path(source.train or f"{imagenet}/train")
        names = sorted(p.name for p in root.iterdir() if p.is_dir())[: source.limit_classes] if root.is_dir() else ()
        train = read_folder(root, "train", names if source.limit_classes else None, source.limit_train)
        splits = [train, read_folder(Path(source.val or f"{imagenet}/val"), "val", train.classes, source.limit_val)]
    for name, data in zip(("train", "val"), splits, strict=True):
        if data.left_out:
            print(f"{name}: {len(data.left_out)} files left out; the first: {data.left_out[0]}", file=sys.stderr)
    return splits[0], splits[1]


class TrainingBatches(Dataset):
    """This process's share of `count` augmented batches: uint8 images [n, 3, S, S], labels [n] and row numbers.

    Every image of every batch has its own random generator, so neither a kill nor the number of processes or workers
    changes what is drawn.
    """

    def __init__(self, data: Labelled, spec: Spec, batch: int, count: int, world: World = ALONE) -> None:
        self.data, self.spec, self.count, self.world = data, spec, count, world
        self.sizes = image_sizes(spec)
        self.labels = torch.tensor(data.labels)
        self.stream = BatchStream([0] * len(data), batch, spec.seed)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, list[int]]:
        rows = self.stream.batch(number)
        images, labels, own = [], [], []
        for place in self.world.share(range(len(rows))):
            random = generator(self.spec.seed, AUGMENTATION, number, place)
            images.append(self.augmented(self.data.image(rows[place]), random, number / self.count))
            labels.append(self.labels[rows[place]])
            own.append(rows[place])
        return torch.stack(images), torch.stack(labels), own

    def augmented(self, image: object, random: torch.Generator, progress: float) -> Tensor:
        """Crop, mirror and colour one image [H, W, 3] after the share `progress` of the training."""
        options, sizes = self.spec.recipe.labelled, self.sizes
        x = torch.tensor(image).permute(2, 0, 1)
        side = sizes.reduced or sizes.side
        if options.crop == "padded":
            x = transforms.padded_crop(x, side, sizes.padding, random)
        else:
            x = transforms.resized_crop(x, side, options.crop_area, options.crop_aspect, random)
        if float(torch.rand((), generator=random)) < self.spec.recipe.flip:
            x = x.flip(-1)
        if options.colour and progress < options.colour_until:
            x = transforms.jitter(x, options.colour, random)
        return transforms.resize(x, (sizes.side, sizes.side))


class TestBatches(Dataset):
    """This process's share of centre crops [n, 3, S, S] (uint8, reduced to `low` pixels first) and labels [n]."""

    def __init__(self, data: Labelled, sizes: Sizes, low: int | None, world: World = ALONE) -> None:
        self.data, self.sizes, self.low = data, sizes, low
        self.rows = range(world.rank, len(data), world.size)

    def __len__(self) -> int:
        return -(-len(self.rows) // TEST_BATCH)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rows = self.rows[index * TEST_BATCH : (index + 1) * TEST_BATCH]
        images = [
            transforms.centre_crop(
                torch.tensor(self.data.image(row)).permute(2, 0, 1), self.sizes.resize, self.sizes.crop
            )
            for row in rows
        ]
        labels = torch.tensor([self.data.labels[row] for row in rows])
        return transforms.reduced(torch.stack(images), self.low, self.sizes.side), labels
