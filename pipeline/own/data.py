"""A preset for somebody's COCO-format folder: checked, split where needed, at one of the sizes of workflow/sizes."""

import hashlib
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import msgspec
import yaml

from pipeline import config, paths
from pipeline.data.coco import check_instances
from pipeline.errors import InputError, nearest
from pipeline.files import read_json, write_json, write_text
from pipeline.options import Options
from pipeline.preset import ModelSize, Training, Verdicts

SIZES = Path("workflow/sizes")
FOLDER = Path("data/compare")  # where annotations lie that were split here; git ignores it
MARK = "# Written by `make compare`; it is written anew with every call of that name.\n"
VALIDATION_PART = 0.2
LEAST_IMAGES = 20  # of a folder that is split: fewer leave nothing to validate on
COCO_LONG_SIDE = 640  # pixels of COCO's photographs: lengths of object sizes are meant there


class Size(Options):
    """What a preset has besides its name and data: contents of `workflow/sizes/<size>.yaml`."""

    factor: float
    model: ModelSize = ModelSize()
    training: Training = Training()
    verdicts: Verdicts = Verdicts()
    threads: int = 0
    init_source: Literal["pretrain", "torchvision"] = "pretrain"
    epochs: float | None = None  # of the training images a 1x schedule; None: `training.steps`
    least_steps: int = 1


class Part(NamedTuple):
    """One split: an image folder and an instances file."""

    images: str
    annotations: str


class Folder(NamedTuple):
    """A checked data set: its parts, and what was seen in them."""

    train: Part
    val: Part
    train_images: int
    val_images: int
    original_factor: float
    remarks: list[str]


def read_folder(
    name: str, images: str, annotations: str, val_images: str | None = None, val_annotations: str | None = None
) -> Folder:
    """Check a COCO-format folder, split it without validation annotations. Raises InputError for the first mistake."""
    if not images or not annotations:
        raise InputError("IMAGES and ANNOTATIONS must be named: an image folder, and the COCO instances JSON of it.")
    if val_images and not val_annotations:
        raise InputError("VAL_IMAGES is named without VAL_ANNOTATIONS; name both, or neither to have the images split.")
    train = Part(images, annotations)
    content = checked(train)
    if val_annotations:
        val = Part(val_images or images, val_annotations)
        parts = {"train": (train, content), "val": (val, checked(val))}
        remarks = []
    else:
        parts = split(name, train, content)
        val_count = len(parts["val"][1]["images"])
        remarks = [
            f"One annotation file: {val_count} of its {len(content['images'])} images validate, chosen by a hash of "
            "their file names. Frames of one film, or crops of one picture, then fall on both sides and flatter every "
            "method: name VAL_ANNOTATIONS for such data."
        ]
    names = {split: {one["name"] for one in found["categories"]} for split, (_, found) in parts.items()}
    if names["train"] != names["val"]:
        odd = sorted(names["train"] ^ names["val"])[0]
        raise InputError(f"Category {odd!r} is in only one of {annotations} and {val_annotations}; both need the same.")
    remarks += [unseen(found, split) for split, (_, found) in parts.items() if unseen(found, split)]
    (train, trained), (val, validated) = parts["train"], parts["val"]
    counts = len(trained["images"]), len(validated["images"])
    return Folder(train, val, *counts, pixel_factor(trained, Path(images)), remarks)


def checked(part: Part) -> dict[str, Any]:
    """Return the content of an instances file. Raises InputError where it or its image folder is not as it should."""
    if not Path(part.images).is_dir():
        raise InputError(f"{part.images} is no folder; IMAGES must name the folder that the file names start from.")
    content = read_json(part.annotations)
    coco, _, _ = check_instances(content, part.annotations, Path(part.images))
    if not coco["annotations"]:
        raise InputError(f"{part.annotations} holds no usable box, so nothing can be learnt; fill 'annotations'.")
    return content


def split(name: str, source: Part, content: dict[str, Any]) -> dict[str, tuple[Part, dict[str, Any]]]:
    """Return training and validation parts of one file, written to `FOLDER`: the same images for the same names.

    An image's place depends on its file name alone, so neither order nor ids matter.
    """
    entries = content["images"]
    if len(entries) < LEAST_IMAGES:
        raise InputError(
            f"{source.annotations} lists {len(entries)} images, and at least {LEAST_IMAGES} are needed to split them; "
            "name VAL_ANNOTATIONS, or add images."
        )
    order = sorted(entries, key=lambda entry: hashlib.sha256(entry["file_name"].encode()).digest())
    held = {entry["id"] for entry in order[: round(VALIDATION_PART * len(entries))]}
    parts = {}
    for part, inside in (("train", False), ("val", True)):
        found = {
            "images": [entry for entry in entries if (entry["id"] in held) == inside],
            "annotations": [one for one in content["annotations"] if (one["image_id"] in held) == inside],
            "categories": content["categories"],
        }
        path = FOLDER / name / f"instances_{part}.json"
        write_json(path, found, indent=None)
        parts[part] = (Part(source.images, path.as_posix()), found)
    return parts


def unseen(content: dict[str, Any], part: str) -> str:
    """Return a sentence on categories without any object in a part, empty where there are none."""
    counts = Counter(one["category_id"] for one in content["annotations"])
    missing = [one["name"] for one in content["categories"] if not counts[one["id"]]]
    if not missing:
        return ""
    shown = ", ".join(missing[:5]) + (" and more" if len(missing) > 5 else "")
    verb = "train on" if part == "train" else "score"
    return f"{len(missing)} of {len(content['categories'])} categories have no object to {verb}: {shown}."


def pixel_factor(content: dict[str, Any], root: Path) -> float:
    """Return how many of the files' pixels one of COCO's is: the median long side over 640.

    Images whose entries hold no size are left to verification, which reads the files; with none that do, it is 1.
    """
    sides = [max(entry["width"], entry["height"]) for entry in content["images"] if entry.get("width")]
    return round(median(sides) / COCO_LONG_SIDE, 3) if sides else 1.0


def load_size(size: str) -> Size:
    """Return a size by its name, or from a file. Raises InputError where there is no such size."""
    path = Path(size) if size.endswith(".yaml") else paths.ROOT / SIZES / f"{size}.yaml"
    if not path.is_file():
        known = sorted(found.stem for found in (paths.ROOT / SIZES).glob("*.yaml"))
        raise InputError(f"Unknown SIZE {size!r}{nearest(size, known)}; known are {', '.join(known)}, or name a file.")
    return config.load(path, Size)


def write_preset(name: str, size: str, folder: Folder) -> Path:
    """Write a folder's preset at a size; return its path. Raises InputError for a bad name, or another's preset."""
    if not name.replace("_", "a").isalnum() or name != name.lower() or not name.isascii():
        raise InputError(f"NAME is {name!r}, but must be of small letters, digits and underscores, such as `birds`.")
    path = paths.ROOT / paths.preset_file(name)
    if path.is_file() and not path.read_text(encoding="utf-8").startswith(MARK):
        raise InputError(f"{paths.preset_file(name)} was not written by `make compare`; choose another NAME.")
    found = load_size(size)
    content = msgspec.to_builtins(found)
    given = {key: value for key, value in content.items() if key not in ("epochs", "least_steps", "model", "training")}
    training = without_defaults(found.training)
    if found.epochs is not None:
        batch = found.training.batch or 16
        training["steps"] = max(found.least_steps, round(found.epochs * folder.train_images / batch))
    preset = {
        "name": name,
        "title": f"{name} (own photographs, {Path(size).stem} size)",
        "data": {"kind": "coco", "train": folder.train._asdict(), "val": folder.val._asdict()},
        **given,
        "original_factor": folder.original_factor,
        "model": without_defaults(found.model),
        "training": training,
        "verdicts": without_defaults(found.verdicts),
    }
    write_text(path, MARK + yaml.safe_dump({k: v for k, v in preset.items() if v != {}}, sort_keys=False))
    config.load_preset(name)
    return path


def without_defaults(options: Options) -> dict[str, Any]:
    """Return the options that differ from their defaults."""
    plain = msgspec.to_builtins(type(options)())
    return {key: value for key, value in msgspec.to_builtins(options).items() if value != plain[key]}
