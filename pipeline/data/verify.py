"""Verification: any source of annotated images gets one normalised form, and every problem is an error or is counted.

Later stages read only the files written here: `train.json`, `val.json` and `manifest.json`.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.data.coco import read_instances
from pipeline.data.exclusions import REASONS, Exclusions, shown
from pipeline.data.images import check_images, check_root
from pipeline.data.manifest import split_entry, write_manifest
from pipeline.data.names import tidy
from pipeline.data.orientation import all_upright
from pipeline.data.pixels import LEVELS
from pipeline.data.voc import read_voc
from pipeline.errors import InputError, nearest
from pipeline.files import write_json
from pipeline.preset import AS_FOUND, Data

ANNOTATION_KEYS = ("bbox", "area", "iscrowd", "difficult", "segmentation")
TRAIN = "train"
BOX_REASONS = ("degenerate_box", "box_outside")
MOST_LOST = 0.5  # share of a split's boxes that may be unusable


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


class Split(NamedTuple):
    """One checked split: its data in the source's ids, what was left out or changed, and its files."""

    coco: dict
    exclusions: Exclusions
    files: list[list]


def verify(
    preset: str,
    kind: str,
    sources: Mapping[str, Source],
    factor: float,
    out_dir: Path,
    rules: Data = AS_FOUND,
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
        rules: how the data is to be read where files leave it open.
        seed: the seed that made the data, kept in the manifest.
        keep: names of the categories to keep; all where none is named. Images stay, with objects or without.

    Raise InputError at the first mistake that is not a counted exclusion, before anything is written.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"factor is {factor}, but it must be positive.")
    splits, categories = read_splits(sources, rules, keep)
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


def read_splits(
    sources: Mapping[str, Source], rules: Data = AS_FOUND, keep: Collection[str] = ()
) -> tuple[dict[str, Split], list[dict]]:
    """Check all sources, pictures included, as `verify` does; return the splits and all categories.

    Raises:
        InputError: the first mistake that is not a counted exclusion.
    """
    splits: dict[str, Split] = {}
    categories: list[dict] = []
    others_upright = None
    for name in (TRAIN, *(name for name in sources if name != TRAIN)):
        place = sources[name].place
        coco, exclusions = _read(sources[name], categories, rules, others_upright)
        others_upright = all_upright(exclusions) if others_upright is None else others_upright
        if keep:
            keep_categories(coco, [tidy(word) for word in keep], exclusions, place)
        new = new_categories(categories, coco["categories"], place)
        _count_new(coco, new if name != TRAIN else [], exclusions)
        categories += new
        files = check_images(coco, Path(coco["images_root"]), place, exclusions, rules)
        check_usable(coco, exclusions, place, name)
        splits[name] = Split(coco, exclusions, files)
    scale_greys(splits)
    return splits, categories


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


def _read(source: Source, known: list[dict], rules: Data, others_upright: bool | None) -> tuple[dict, Exclusions]:
    if source.voc_root is not None:
        names = [category["name"] for category in known]
        coco, counts, examples = read_voc(
            source.voc_root, source.voc_split, source.voc_years, names, rules, others_upright
        )
    else:
        check_root(source.images_root)
        coco, counts, examples = read_instances(source.annotations, source.images_root, rules, others_upright)
        coco["images_root"] = Path(source.images_root).as_posix()
    return coco, Exclusions(counts, examples)


def _count_new(coco: dict, new: list[dict], exclusions: Exclusions) -> None:
    names = {category["id"]: category["name"] for category in new}
    for annotation in coco["annotations"]:
        if annotation["category_id"] in names:
            name = names[annotation["category_id"]]
            exclusions.add("category_not_in_train", f"annotation {annotation['id']}: {shown(name)}")


def check_usable(coco: dict, exclusions: Exclusions, place: str, split: str) -> None:
    """Raise InputError where a split has no image or no usable box left, or most of its boxes were left out."""
    if not coco["images"]:
        raise InputError(f"{place} has no image left, because the file of each is missing; correct the image folder.")
    kept = len(coco["annotations"])
    if all(annotation["iscrowd"] for annotation in coco["annotations"]):
        purpose = "train on" if split == TRAIN else "score"
        raise InputError(
            f"{place} has no usable box ({kept} crowd or difficult, the others left out), so there "
            f"is nothing to {purpose}; check the annotations."
        )
    lost = sum(exclusions.counts[reason] for reason in BOX_REASONS)
    if lost > MOST_LOST * (lost + kept):
        reason = max(BOX_REASONS, key=lambda name: exclusions.counts[name])
        raise InputError(
            f"{place}: {lost} of {lost + kept} boxes are unusable, {exclusions.counts[reason]} of them a "
            f"{REASONS[reason].found}, first {exclusions.examples[reason][0]}; boxes are [x, y, width, height] in "
            "pixels from the left upper corner (VOC: xmin, ymin, xmax, ymax): correct them, or name another convention "
            "by `boxes` under `data` of the preset."
        )


def scale_greys(splits: Mapping[str, Split]) -> None:
    """Give the entries of 16-bit and float pictures the number of grey levels that become 256, in place.

    It is the same for all: of pictures of whole numbers the smallest power of two from 256 to 65536 that is above all
    of their values, of float pictures 1 where all lie from 0 to 1, else 256. Without `levels`, an entry has 65536.

    Raises:
        InputError: values below zero or above these.
    """
    deep = [(split, image) for split in splits.values() for image in split.coco["images"] if "values" in image]
    for whole in (True, False):
        entries = [(split, image) for split, image in deep if image["whole"] == whole]
        if not entries:
            continue
        high = max(image["values"][1] for _, image in entries)
        levels = 2.0 ** next((n for n in range(8, 17) if high < 2**n), 17) if whole else 1.0 if high <= 1 else 256.0
        for split, image in entries:
            low, most = image["values"]
            if not (low >= 0 and most < (LEVELS if whole else 256)):  # also where one is not finite
                raise InputError(
                    f"image file {shown(image['file_name'])} in {split.coco['images_root']} has grey values from "
                    f"{low:g} to {most:g}, but those of a picture lie from 0 to {'65535' if whole else '1 or 255'}; "
                    "save it as an 8-bit or 16-bit picture."
                )
            if levels != LEVELS:
                image["levels"] = levels
            split.exclusions.add("scaled_grey", f"{shown(image['file_name'])}: {levels:g} levels become 256")
    for _, image in deep:
        del image["values"], image["whole"]


def _shared(splits: Mapping[str, Split]) -> int:
    """Count files of the other splits whose content is also in that of training."""
    digests = {digest for _, _, digest in splits[TRAIN].files}
    return sum(digest in digests for name in splits if name != TRAIN for _, _, digest in splits[name].files)
