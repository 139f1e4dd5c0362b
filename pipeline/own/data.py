"""A preset for somebody's COCO-format folder: checked, split where needed, at one of the sizes of workflow/sizes."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import msgspec
import yaml
from msgspec.structs import replace

from pipeline import config, object_sizes, paths
from pipeline.data.names import locate, relative
from pipeline.data.orientation import all_upright
from pipeline.data.verify import Source, Split, read_splits
from pipeline.errors import InputError, nearest
from pipeline.files import read_json, write_text
from pipeline.options import Options
from pipeline.own.forms import as_coco
from pipeline.preset import Data, ModelSize, Training, Verdicts

SIZES = Path("workflow/sizes")
FOLDER = Path("data/compare")  # where annotations lie that were split here; git ignores it
MARK = "# Written by `make compare`; it is written anew with every call of that name.\n"
VALIDATION_PART = 0.2
READING = ("boxes", "exif", "links", "max_megapixels")  # keys of `data` on how files are to be read
MOST_SHARED = 0.1  # of the validation pictures that training may see, too: above it the two are one data set
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
    rules: dict[str, str | float | list[str]]  # further keys of `data`
    sizes: str | tuple[float, float] = object_sizes.COCO


def read_folder(
    name: str,
    images: str,
    annotations: str,
    val_images: str | None = None,
    val_annotations: str | None = None,
    keys: str = "",
    sizes: str = object_sizes.COCO,
    categories: str = "",
) -> Folder:
    """Check a data set, its pictures included, and split it where no validation annotations are named.

    Args:
        name: of the preset.
        images: folder that the file names start from.
        annotations: of all images, or of those to train on.
        val_images: the validation images' folder, where it is another one.
        val_annotations: those of the validation images; none: split.
        keys: words `key=value` on how the data is to be read, of `READING`.
        sizes: where small objects end and large ones begin (`object_sizes.read`).
        categories: the only ones that are kept, by commas; none: all.

    Raises:
        InputError: the first mistake.
    """
    boundaries = object_sizes.read(sizes)
    check_name(name)
    if not annotations:
        raise InputError("ANNOTATIONS must be named: an instances JSON, a data.yaml, or a VOC folder.")
    if val_images and not val_annotations:
        raise InputError("VAL_IMAGES is named without VAL_ANNOTATIONS; name both, or neither to have the images split.")
    form = as_coco(images or "", annotations, val_images or "", val_annotations or "", FOLDER / name)
    rules = {**form.rules, **reading(keys)}
    keep = [word.strip() for word in categories.split(",") if word.strip()]
    named = {part: Part(*places) for part, places in form.parts.items()}
    train = named["train"]
    for part in named.values():
        if not part.images or not Path(part.images).is_dir():
            named_so = f"{part.images} is no folder" if part.images else "IMAGES is empty"
            raise InputError(f"{named_so}; IMAGES must name the folder that the file names start from.")
    sources = {one: Source(Path(part.annotations), Path(part.images)) for one, part in named.items()}
    checked, _ = read_splits(sources, config.converted({"kind": "coco", **rules}, Data, "DATA"), keep)
    found = {one: split.coco for one, split in checked.items()}
    remarks = form.remarks
    if "val" in named:
        names = {one: {category["name"] for category in coco["categories"]} for one, coco in found.items()}
        if names["train"] != names["val"]:
            odd = sorted(names["train"] ^ names["val"])[0]
            raise InputError(
                f"Category {odd!r} is in only one of {annotations} and {val_annotations}; both need the same."
            )
        remarks = [*remarks, *shared(checked)]
    else:
        held = validating(checked["train"], annotations)
        upright = all_upright(checked["train"].exclusions)
        if upright is not None:  # what the whole file shows holds for its parts
            rules = {"exif": "upright" if upright else "stored", **rules}
        named = write_parts(name, train, held, rules.get("links", "inside"))
        found = {one: part_of(found["train"], held, inside=one == "val") for one in ("train", "val")}
        remarks = [
            *remarks,
            f"One part: {len(held)} of its {sum(len(coco['images']) for coco in found.values())} images "
            "validate, chosen by a hash of their file names. Frames of one film, or crops of one picture, then fall on "
            "both sides and flatter every method: name VAL_ANNOTATIONS for such data.",
        ]
        for one, coco in found.items():
            if all(annotation["iscrowd"] for annotation in coco["annotations"]):
                raise InputError(
                    f"{annotations}: none of the {len(coco['images'])} images that would be in {one} shows an object; "
                    "name VAL_ANNOTATIONS, or add images with objects."
                )
    rules |= {"categories": keep} if keep else {}
    remarks += [sentence for one, coco in found.items() if (sentence := unseen(coco, one))]
    counts = (len(found[one]["images"]) for one in ("train", "val"))
    factor = pixel_factor(found["train"]["images"])
    if boundaries == object_sizes.THIRDS:
        boundaries = object_sizes.thirds(found["train"]["annotations"])
        remarks.append(f"Objects are small below {boundaries[0]:.6g} px and large from {boundaries[1]:.6g} px.")
    return Folder(named["train"], named["val"], *counts, factor, remarks, rules, boundaries)


def reading(keys: str) -> dict[str, str | float]:
    """Return the keys of `data` in `key=value` words. Raises InputError where one is none of `READING`."""
    found: dict[str, str | float] = {}
    for word in keys.split():
        key, _, value = word.partition("=")
        if key not in READING or not value:
            raise InputError(
                f"DATA has {word!r}{nearest(key, READING)}; it takes words KEY=VALUE of {', '.join(READING)}."
            )
        try:
            found[key] = float(value) if key == "max_megapixels" else value
        except ValueError:
            raise InputError(f"DATA has {word!r}, but max_megapixels is a number of millions of pixels.") from None
    return found


def shared(checked: Mapping[str, Split]) -> list[str]:
    """Return a warning of validation pictures that training sees, too. Raises InputError where they are many."""
    seen = {digest for _, _, digest in checked["train"].files}
    both = [name for name, _, digest in checked["val"].files if digest in seen]
    if not both:
        return []
    many = len(both) > MOST_SHARED * len(checked["val"].files)
    said = (
        f"{len(both)} of {len(checked['val'].files)} validation pictures, such as {both[0]}, are training pictures too"
    )
    if many:
        raise InputError(f"{said}, so scores would be of what was learnt by heart; take them out of one of the two.")
    return [f"warning: {said}, which flatters every number."]


def validating(split: Split, place: str) -> set[str]:
    """Return the names of the files that validate: the same ones for the same names, whatever their order and ids.

    A further picture moves one other from side to side at most. Copies of one picture stay on one side.
    """
    digests = {name: digest for name, _, digest in split.files}
    copies: dict[str, list[str]] = {}
    for entry in split.coco["images"]:
        copies.setdefault(digests[entry["file_name"]], []).append(entry["file_name"])
    if len(copies) < LEAST_IMAGES:
        raise InputError(
            f"{place} lists {len(copies)} images, and at least {LEAST_IMAGES} are needed to split them; "
            "name VAL_ANNOTATIONS, or add images."
        )
    order = sorted(copies.values(), key=lambda names: hashlib.sha256(min(names).encode()).digest())
    return {name for names in order[: round(VALIDATION_PART * len(order))] for name in names}


def part_of(coco: dict[str, Any], held: set[str], inside: bool) -> dict[str, Any]:
    """Return the images of a checked data set that validate, or the others, with their annotations."""
    images = [entry for entry in coco["images"] if (entry["file_name"] in held) == inside]
    ids = {entry["id"] for entry in images}
    return {**coco, "images": images, "annotations": [one for one in coco["annotations"] if one["image_id"] in ids]}


def write_parts(name: str, source: Part, held: set[str], links: str) -> dict[str, Part]:
    """Write training and validation parts of one file to `FOLDER`, all entries as they are, and return them.

    They are checked again when they are verified, so that what is left out of them is counted there.
    """
    content, root = read_json(source.annotations), Path(source.images)
    inside = {
        entry["id"]: relative(locate(root, entry["file_name"], source.annotations, links), root) in held
        for entry in content["images"]
    }
    parts = {}
    for part in ("train", "val"):
        found = {key: content[key] for key in ("images", "annotations", "categories")}
        found["images"] = [entry for entry in content["images"] if inside[entry["id"]] == (part == "val")]
        found["annotations"] = [one for one in content["annotations"] if inside[one["image_id"]] == (part == "val")]
        path = FOLDER / name / f"instances_{part}.json"
        write_text(path, json.dumps(found) + "\n")  # not write_json: a box that is not finite is left to verification
        parts[part] = Part(source.images, path.as_posix())
    return parts


def unseen(coco: dict[str, Any], part: str) -> str:
    """Return a sentence on categories without any object in a part, empty where there are none."""
    counts = Counter(one["category_id"] for one in coco["annotations"] if not one["iscrowd"])
    missing = [one["name"] for one in coco["categories"] if not counts[one["id"]]]
    if not missing:
        return ""
    shown = ", ".join(missing[:5]) + (" and more" if len(missing) > 5 else "")
    verb = "train on" if part == "train" else "score"
    return f"{len(missing)} of {len(coco['categories'])} categories have no object to {verb}: {shown}."


def pixel_factor(images: list[dict[str, Any]]) -> float:
    """Return how many of the files' pixels one of COCO's is: the median long side over 640."""
    return round(median(max(entry["width"], entry["height"]) for entry in images) / COCO_LONG_SIDE, 3)


def load_size(size: str) -> Size:
    """Return a size by its name, or from a file. Raises InputError where there is no such size."""
    path = Path(size) if size.endswith(".yaml") else paths.ROOT / SIZES / f"{size}.yaml"
    if not path.is_file():
        known = sorted(found.stem for found in (paths.ROOT / SIZES).glob("*.yaml"))
        raise InputError(f"Unknown SIZE {size!r}{nearest(size, known)}; known are {', '.join(known)}, or name a file.")
    return config.load(path, Size)


def check_name(name: str) -> Path:
    """Return the path of a preset that may be written. Raises InputError for a bad name, or another's preset."""
    if not name.replace("_", "a").isalnum() or name != name.lower() or not name.isascii():
        raise InputError(f"NAME is {name!r}, but must be of small letters, digits and underscores, such as `birds`.")
    path = paths.ROOT / paths.preset_file(name)
    if path.is_file() and not path.read_text(encoding="utf-8").startswith(MARK):
        raise InputError(f"{paths.preset_file(name)} was not written by `make compare`; choose another NAME.")
    return path


def write_preset(
    name: str, size: str, folder: Folder, blocks: int = 3, published: bool = False, steps: int | None = None
) -> Path:
    """Write a folder's preset at a size, with so many trainings of everything, and return its path.

    With `published` weights to start from, networks are as wide and deep as those; the size sets all else, and the
    `steps` of a 1x schedule where they are not given.

    Raises:
        InputError: a bad name, or another's preset.
    """
    path = check_name(name)
    found = load_size(size)
    if published:
        plain = ModelSize()
        whole = {key: getattr(plain, key) for key in ("width", "depth", "fpn_channels", "head_channels")}
        found = replace(found, init_source="torchvision", model=replace(found.model, **whole))
    content = msgspec.to_builtins(found)
    given = {key: value for key, value in content.items() if key not in ("epochs", "least_steps", "model", "training")}
    training = without_defaults(found.training)
    if steps is not None:
        training["steps"] = steps
    elif found.epochs is not None:
        batch = found.training.batch or 16
        training["steps"] = max(found.least_steps, round(found.epochs * folder.train_images / batch))
    preset = {
        "name": name,
        "title": f"{name} (own photographs, {Path(size).stem} size)",
        "data": {"kind": "coco", "train": folder.train._asdict(), "val": folder.val._asdict(), **folder.rules},
        **given,
        "blocks": blocks,
        "grows": True,
        "original_factor": folder.original_factor,
        **({} if folder.sizes == object_sizes.COCO else {"sizes": list(folder.sizes)}),
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
