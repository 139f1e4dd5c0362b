"""Small labelled image folders and specifications of classifiers, for tests that train on them."""

from pathlib import Path
from typing import Any

import numpy as np
import tiny
from msgspec.structs import replace
from PIL import Image

from pipeline import config
from pipeline.preset import LabelledSource

COLOURS = ((230, 40, 40), (40, 220, 60), (50, 60, 230))
BASE = "psconv_cls_r50_120ep_cos"


def make_folders(root: Path, train: int = 8, val: int = 4, side: int = 20) -> None:
    """Write noisy images of one colour a class."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for number, colour in enumerate(COLOURS):
            folder = root / split / f"class_{number}"
            folder.mkdir(parents=True)
            for index in range(count):
                noise = random.integers(-40, 40, (side, side + 4, 3))
                Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")


def spec(name: str = BASE, root: Path = Path("images"), recipe: dict[str, Any] | None = None, **training: Any):
    """Return a classifier under a tiny preset with the folders' images, 16 pixels where the paper has 224."""
    source = LabelledSource(kind="folder", train=str(root / "train"), val=str(root / "val"))
    options = {"pretrain_size": 16, "pretrain_steps": 6, "pretrain_batch": 8, "pretrain_lr": 0.02, "log_rows": 6}
    preset = replace(tiny.preset(**{**options, **training}), labelled={"imagenet": source, "cifar100": source})
    found = config.resolve(name, "mini")
    blocks = config.block_count(name, found.experiment, preset)
    return tiny.changed(replace(found, preset=preset, blocks=blocks), recipe=recipe or {})
