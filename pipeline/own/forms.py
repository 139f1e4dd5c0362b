"""Bring a user's annotations of any form into COCO's, before anything in them is judged.

COCO's instances JSON is taken as it is. PASCAL VOC (a folder, or its lists) and YOLO (`data.yaml`, a folder of labels,
or lists of pictures) become such a file below data/compare, entry by entry; verification then judges them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.files import write_text
from pipeline.markdown import plural
from pipeline.own import voc_form, yolo
from pipeline.own.pictures import files
from pipeline.own.records import Records


class Form(NamedTuple):
    """Instances files and image folders of the parts, keys on how they are to be read, and what was seen."""

    parts: dict[str, tuple[str, str]]  # `train`, perhaps `val`: image folder, annotations
    rules: dict[str, str]
    remarks: list[str]


def as_coco(images: str, annotations: str, val_images: str, val_annotations: str, folder: Path) -> Form:
    """Return the parts of a data set as COCO has them; those of other forms are written to `folder`.

    Args:
        images: folder that file names start from; VOC and YOLO folders may do without.
        annotations: an instances JSON, a VOC folder or list, a `data.yaml`, or a folder of labels.
        val_images: the validation images' folder; empty for that of all.
        val_annotations: as `annotations`; empty where there are none, or `annotations` names both.
        folder: for files that are made here.

    Raises:
        InputError: what is named is of no known form, or an entry breaks its form's rule.
    """
    given = {"train": (images, annotations)}
    given |= {"val": (val_images or images, val_annotations)} if val_annotations else {}
    read = {part: reader(Path(place)) for part, (_, place) in given.items()}
    if set(read.values()) == {None}:
        return Form(given, {}, [])
    if None in read.values() or len(set(read.values())) > 1:
        raise InputError(
            f"{annotations} and {val_annotations} are of two forms; give both as COCO, VOC or YOLO, or name one alone."
        )
    found: dict[str, Records] = {}
    for part, (root, place) in given.items():
        parts = read[part].read(Path(place), Path(root) if root else None)
        if len(given) == 2 and len(parts) == 2:
            raise InputError(
                f"{place} names its own training and validation images; leave VAL_ANNOTATIONS out, or name lists of "
                "each part."
            )
        found |= parts if len(given) == 1 else {part: parts["train"]}
    if both := sorted(set.intersection(*(one.paths for one in found.values())) if len(given) == 2 else ()):
        raise InputError(
            f"{plural(len(both), 'picture')}, such as {both[0].name}, would train and validate; name the folder of "
            "each part's own pictures as IMAGES and VAL_IMAGES, or lists of them as ANNOTATIONS and VAL_ANNOTATIONS."
        )
    if read["train"] is voc_form:
        voc_form.settle(found)
    return written(found, read["train"].BOXES, folder)


def written(found: Mapping[str, Records], boxes: str, folder: Path) -> Form:
    """Write parts as instances files with one list of categories, and return them."""
    names = list(dict.fromkeys(name for part in found.values() for name in part.names))
    parts, remarks = {}, []
    for part, records in found.items():
        path = folder / f"converted_{part}.json"
        write_text(path, json.dumps(records.coco(names)) + "\n")  # not write_json: verification judges odd numbers
        parts[part] = (records.root.as_posix(), path.as_posix())
        remarks += [f"{part}: {remark}" for remark in records.remarks]
    return Form(parts, {"boxes": boxes}, remarks)


def reader(place: Path) -> ModuleType | None:
    """Return the module that reads what a path names; None for COCO's JSON. Raises InputError for no known form."""
    if not place.exists():
        raise InputError(f"{place} does not exist; correct ANNOTATIONS, or VAL_ANNOTATIONS.")
    if place.is_dir():
        if (place / "Annotations").is_dir() or voc_form.years(place):
            return voc_form
        voc, labels = files(place, [".xml"]), files(place, [".txt"])
        if yolo.settings(place) and (labels or not voc):
            return yolo
        if voc or labels:
            return voc_form if voc else yolo
        found = files(place, [".json"])
        cure = f"name the file {found[0]}" if found else "name an instances JSON, a data.yaml, or a VOC folder"
        raise InputError(f"{place} is a folder without VOC's .xml or YOLO's .txt files; {cure}.")
    if place.suffix.lower() in (".yaml", ".yml"):
        return yolo
    if place.suffix.lower() == ".txt":
        return voc_form if voc_form.is_list(place) else yolo
    if place.suffix.lower() == ".xml":
        raise InputError(f"{place} is one VOC annotation; name the folder that holds them all.")
    return None
