"""A COCO-format folder as a user has one: rendered scenes, one annotation file, and a size that trains in seconds."""

from pathlib import Path

import tiny
import yaml

from pipeline.data.scaleworld.scenes import write_split
from pipeline.own.data import without_defaults


def write_folder(folder: Path, images: int = 40, factor: float = 0.1) -> tuple[Path, Path]:
    """Write scenes below `folder` and return (images, annotations)."""
    write_split(folder, "train", images, 3, factor)
    return folder / "images/train", folder / "annotations/instances_train.json"


def write_size(path: Path, **training: object) -> Path:
    """Write the tiny tests' networks and trainings as a size of `make compare`."""
    preset = tiny.preset(**training)
    content = {
        "factor": preset.factor,
        "threads": 1,
        "init_source": "pretrain",
        "model": without_defaults(preset.model),
        "training": without_defaults(preset.training),
        "verdicts": without_defaults(preset.verdicts),
    }
    path.write_text(yaml.safe_dump(content))
    return path
