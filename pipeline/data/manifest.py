"""The manifest: splits, sizes, checksums and category map of a verified data set, in one file that stages read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.data.exclusions import Exclusions
from pipeline.errors import InputError, nearest, reading
from pipeline.files import read_json, sha256, write_json

SMALL_SIDE, MEDIUM_SIDE = 32, 96  # COCO's borders, in pixels of its photographs
KEYS = ("preset", "kind", "factor", "categories", "splits")
AGAIN = "run verify again"


@dataclass(frozen=True)
class Manifest:
    """A manifest as read from its file; `splits` maps names to the entries of `split_entry`."""

    preset: str
    kind: str
    factor: float
    categories: list[dict]
    splits: dict[str, dict]
    seed: int | None = None
    shared_images: int = 0
    folder: Path = field(default=Path("."), compare=False)

    @property
    def category_names(self) -> list[str]:
        """Names in the order of the contiguous ids 1..K."""
        return [category["name"] for category in self.categories]


def size_counts(annotations: Sequence[Mapping], factor: float) -> dict[str, int]:
    """Count small, medium and large objects, without crowds, by `area` and COCO's borders times `factor`.

    small: area < (32 factor)^2; large: area >= (96 factor)^2.
    """
    counts = {"small": 0, "medium": 0, "large": 0}
    for annotation in annotations:
        if not annotation["iscrowd"]:
            counts[size_name(annotation["area"], factor)] += 1
    return counts


def size_name(area: float, factor: float) -> str:
    """Return `small`, `medium` or `large` for an area in square pixels."""
    if area < (SMALL_SIDE * factor) ** 2:
        return "small"
    return "medium" if area < (MEDIUM_SIDE * factor) ** 2 else "large"


def split_entry(coco: Mapping, path: Path, factor: float, exclusions: Exclusions, files: list[list]) -> dict[str, Any]:
    """Return the manifest's entry of one split whose normalised form was written to `path`."""
    objects = [annotation for annotation in coco["annotations"] if not annotation["iscrowd"]]
    ignored = [annotation for annotation in coco["annotations"] if annotation["iscrowd"]]
    difficult = sum(annotation.get("difficult", 0) for annotation in ignored)
    per_category = Counter(annotation["category_id"] for annotation in objects)
    with_objects = {annotation["image_id"] for annotation in objects}
    return {
        "file": path.name,
        "sha256": sha256(path),
        "images_root": coco["images_root"],
        "images": len(coco["images"]),
        "annotations": len(coco["annotations"]),
        "objects": len(objects),
        "crowd": len(ignored) - difficult,
        "difficult": difficult,
        "masks": sum("segmentation" in annotation for annotation in coco["annotations"]),
        "images_without_objects": sum(image["id"] not in with_objects for image in coco["images"]),
        **size_counts(coco["annotations"], factor),
        "objects_per_category": [per_category[category["id"]] for category in coco["categories"]],
        "excluded": {reason: exclusions.counts[reason] for reason in sorted(exclusions.counts)},
        "excluded_examples": {reason: exclusions.examples[reason] for reason in sorted(exclusions.examples)},
        "files": files,
    }


def write_manifest(path: Path, manifest: Mapping) -> None:
    """Write a manifest atomically."""
    write_json(path, manifest)


def load_manifest(path: Path) -> Manifest:
    """Read a manifest; raise InputError where it is missing, malformed, or no manifest."""
    data = read_json(path)
    missing = [key for key in KEYS if not isinstance(data, dict) or key not in data]
    if missing:
        raise InputError(f"{path} is no manifest (it has no '{missing[0]}'); {AGAIN}.")
    optional = {key: data[key] for key in ("seed", "shared_images") if key in data}
    return Manifest(**{key: data[key] for key in KEYS}, **optional, folder=Path(path).parent)


def load_split(manifest_path: Path, split: str) -> dict:
    """Read one split in normalised form; raise InputError where it is unknown or not the file that was verified."""
    manifest = load_manifest(manifest_path)
    with reading(manifest_path, AGAIN):
        return _split(manifest, manifest_path, split)


def _split(manifest: Manifest, manifest_path: Path, split: str) -> dict:
    if split not in manifest.splits:
        known = ", ".join(sorted(manifest.splits))
        raise InputError(
            f"{manifest_path} has no split '{split}', only {known}{nearest(split, manifest.splits).rstrip('?')}; "
            "correct the name."
        )
    entry = manifest.splits[split]
    path = manifest.folder / entry["file"]
    if not path.is_file():
        raise InputError(f"{path} does not exist although {manifest_path} names it; {AGAIN}.")
    if sha256(path) != entry["sha256"]:
        raise InputError(f"{path} is not the file that {manifest_path} was written with (SHA-256 differs); {AGAIN}.")
    return read_json(path)
