"""Tiny data sets that the reading tests write into their temporary folders."""

import copy
import json
from pathlib import Path

from PIL import Image

from pipeline.data.verify import Source, verify
from pipeline.preset import Data

INSTANCES = {
    "images": [
        {"id": 7, "file_name": "b.png", "width": 40, "height": 30},
        {"id": 3, "file_name": "sub/ä.jpg", "width": 32, "height": 24},
    ],
    "annotations": [
        {"id": 12, "image_id": 7, "category_id": 9, "bbox": [2, 3, 10, 5], "area": 33.5, "iscrowd": 0},
        {"id": 11, "image_id": 3, "category_id": 4, "bbox": [0.5, 1.5, 20, 20], "iscrowd": 0},
        {"id": 13, "image_id": 7, "category_id": 4, "bbox": [0, 0, 40, 30], "area": 1200, "iscrowd": 1},
    ],
    "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
}


def instances() -> dict:
    """Return a fresh copy of a valid instances file's content."""
    return copy.deepcopy(INSTANCES)


def write_images(root: Path, content: dict = INSTANCES) -> Path:
    """Draw the images that the content lists, and return their folder."""
    for number, image in enumerate(content["images"]):
        path = root / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (image["width"], image["height"]), (40 * number, 90, 200)).save(path)
    return root


def write_instances(path: Path, content: object) -> Path:
    """Write an instances file (text as it is, anything else as JSON) and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def verify_one(folder: Path, content: object, seed: int | None = None, keep: tuple = (), **rules: object) -> dict:
    """Verify one instances file as train, with the images in `folder/images`; return the manifest."""
    source = Source(write_instances(folder / "train_source.json", content), folder / "images")
    return verify("tiny", "coco", {"train": source}, 1.0, folder / "out", Data("coco", **rules), seed, keep)


def normalised(folder: Path, split: str = "train") -> dict:
    """Read what `verify_one` wrote."""
    return json.loads((folder / "out" / f"{split}.json").read_text())


VOC_OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"""


def voc_object(name: str, x1: object, y1: object, x2: object, y2: object, difficult: object = 0) -> str:
    """Return the XML of one object."""
    return VOC_OBJECT.format(name=name, x1=x1, y1=y1, x2=x2, y2=y2, difficult=difficult)


def write_voc(
    folder: Path, splits: dict[str, list[str]], objects: dict[str, list[str]], size: tuple[int, int] = (20, 10)
) -> Path:
    """Write a VOC folder (a year's) with images of one size; `objects` maps image names to object XML."""
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, xml in objects.items():
        Image.new("RGB", size, (200, 90, 10)).save(folder / "JPEGImages" / f"{name}.jpg")
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename><size><width>{size[0]}</width><height>{size[1]}</height>"
            f"<depth>3</depth></size>{''.join(xml)}</annotation>"
        )
    for split, names in splits.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return folder
