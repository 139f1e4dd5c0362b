"""Verification: any source of annotated images gets one normalised form, and every problem is an error or is counted.

Later stages read only the files written here: `train.json`, `val.json` and `manifest.json`.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.coco import read_instances
from pipeline.data.exclusions import Exclusions, shown
from pipeline.data.images import check_images, check_root
from pipeline.data.manifest import split_entry, write_manifest
from pipeline.data.voc import read_voc
from pipeline.errors import InputError, nearest
from pipeline.files import write_json

ANNOTATION_KEYS = ("bbox", "area", "iscrowd", "difficult", "segmentation")
TRAIN = "train"


@dataclass(frozen=True)
class Source:
    """The source of one split: an instances file and an image folder, or a split of a VOC folder."""

    annotations: Path | None = None
    images_root: Path | None = None
    voc_root: Path | None = None
    voc_split: str | None = None
    voc_years: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where the source names neither or both."""
        coco = self.annotations is not None and self.images_root is not None
        voc = self.voc_root is not None and self.voc_split is not None
        if coco == voc:
            raise ValueError("a source needs annotations and images_root, or voc_root and voc_split, and not both.")

    @property
    def place(self) -> str:
        """The name of the source in errors."""
        return str(self.annotations) if self.voc_root is None else f"{self.voc_root} ({self.voc_split})"


def verify(
    preset: str,
    kind: str,
    sources: Mapping[str, Source],
    factor: float,
    out_dir: Path,
    missing_images: str = "error",
    seed: int | None = None,
    keep: Collection[str] = (),
) -> dict:
    """Check all sources, write `<split>.json` in normalised form and `manifest.json`, and return the manifest.

    Args:
        preset: the preset's name, kept in the manifest.
        kind: of the data (`scaleworld`, `coco`, `voc`), kept in the manifest.
        sources: split name -> source; the categories of `train` come first, in the order of their ids.
        factor: the preset's factor for lengths in pixels, which scales the borders of small, medium and large.
        out_dir: folder of the files.
        missing_images: `error`, or `exclude` to leave out and count images without a file.
        seed: the seed that made the data, kept in the manifest.
        keep: names of the categories to keep; all where none is named. Images stay, with objects or without.

    Raise InputError at the first mistake that is not a counted exclusion, before anything is written.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"factor is {factor}, but it must be positive.")
    splits: dict[str, tuple[dict, Exclusions, list[list]]] = {}
    categories: list[dict] = []
    for name in (TRAIN, *(name for name in sources if name != TRAIN)):
        coco, exclusions = _read(sources[name], categories, missing_images)
        if keep:
            keep_categories(coco, keep, exclusions, sources[name].place)
        new = new_categories(categories, coco["categories"], sources[name].place)
        _count_new(coco, new if name != TRAIN else [], exclusions)
        categories += new
        root = Path(coco["images_root"])
        files = check_images(coco, root, sources[name].place, exclusions, missing_images)
        _check_not_empty(coco, sources[name].place, needs_objects=name == TRAIN)
        splits[name] = coco, exclusions, files

    contiguous = [
        {"id": number, "original_id": category["id"], "name": category["name"]}
        for number, category in enumerate(categories, start=1)
    ]
    manifest = {"preset": preset, "kind": kind, "factor": factor}
    manifest |= {} if seed is None else {"seed": seed}
    manifest |= {"categories": contiguous, "shared_images": _shared(splits), "splits": {}}
    for name in sources:
        coco, exclusions, files = splits[name]
        normal = normalise(coco, contiguous)
        path = Path(out_dir) / f"{name}.json"
        write_json(path, normal, indent=None)
        manifest["splits"][name] = split_entry(normal, path, factor, exclusions, files)
    write_manifest(Path(out_dir) / "manifest.json", manifest)
    return manifest


def new_categories(known: list[dict], found: list[dict], place: str) -> list[dict]:
    """Return the categories of a split that are not known yet.

    Raise InputError where an id has another name, or a name another id, than in training: such files would
    train on one class and score another.
    """
    names = {category["id"]: category["name"] for category in known}
    ids = {category["name"]: category["id"] for category in known}
    new = []
    for category in found:
        key, name = category["id"], category["name"]
        if key in names and names[key] != name:
            raise InputError(
                f"{place} calls category {key} {shown(name)}, but in {TRAIN} it is {shown(names[key])}; "
                "use one list of categories for all splits."
            )
        if key not in names:
            if name in ids:
                raise InputError(
                    f"{place} gives category {shown(name)} the id {key}, but in {TRAIN} it is {ids[name]}; "
                    "use one list of categories for all splits."
                )
            new.append(category)
    return new


def keep_categories(coco: dict, names: Collection[str], exclusions: Exclusions, place: str) -> None:
    """Take all categories but some out of a data set, with their annotations, and count these.

    Raises:
        InputError: a category that the data set does not have.
    """
    known = {category["id"]: category["name"] for category in coco["categories"]}
    for name in names:
        if name not in known.values():
            meant = nearest(name, known.values()).rstrip("?")
            raise InputError(f"{place} has no category {shown(name)}{meant}; correct `categories`.")
    kept = []
    for annotation in coco["annotations"]:
        name = known[annotation["category_id"]]
        if name in names:
            kept.append(annotation)
        else:
            exclusions.add("other_category", f"annotation {annotation['id']}: {shown(name)}")
    coco["annotations"] = kept
    coco["categories"] = [category for category in coco["categories"] if category["name"] in names]


def normalise(coco: dict, categories: list[dict]) -> dict:
    """Return the data set with contiguous category ids and keys in a fixed order, ready to be written."""
    number = {category["original_id"]: category["id"] for category in categories}
    annotations = []
    for annotation in coco["annotations"]:
        entry = {"id": annotation["id"], "image_id": annotation["image_id"]}
        entry["category_id"] = number[annotation["category_id"]]
        annotations.append(entry | {key: annotation[key] for key in ANNOTATION_KEYS if key in annotation})
    return {
        "images_root": coco["images_root"],
        "images": coco["images"],
        "annotations": annotations,
        "categories": [{key: category[key] for key in ("id", "name", "original_id")} for category in categories],
    }


def _read(source: Source, known: list[dict], missing_images: str) -> tuple[dict, Exclusions]:
    if source.voc_root is not None:
        names = [category["name"] for category in known]
        coco, counts, examples = read_voc(source.voc_root, source.voc_split, source.voc_years, names, missing_images)
    else:
        check_root(source.images_root)
        coco, counts, examples = read_instances(source.annotations, source.images_root, missing_images)
        coco["images_root"] = Path(source.images_root).as_posix()
    return coco, Exclusions(counts, examples)


def _count_new(coco: dict, new: list[dict], exclusions: Exclusions) -> None:
    names = {category["id"]: category["name"] for category in new}
    for annotation in coco["annotations"]:
        if annotation["category_id"] in names:
            name = names[annotation["category_id"]]
            exclusions.add("category_not_in_train", f"annotation {annotation['id']}: {shown(name)}")


def _check_not_empty(coco: dict, place: str, needs_objects: bool) -> None:
    if not coco["images"]:
        raise InputError(f"{place} has no image left, because the file of each is missing; correct the image folder.")
    if needs_objects and all(annotation["iscrowd"] for annotation in coco["annotations"]):
        raise InputError(
            f"{place} has no usable box ({len(coco['annotations'])} crowd or difficult, the others left out), so there "
            "is nothing to train on; check the annotations."
        )


def _shared(splits: dict[str, tuple[dict, Exclusions, list[list]]]) -> int:
    """Count files of the other splits whose content is also in that of training."""
    digests = {digest for _, _, digest in splits[TRAIN][2]}
    return sum(digest in digests for name in splits if name != TRAIN for _, _, digest in splits[name][2])
