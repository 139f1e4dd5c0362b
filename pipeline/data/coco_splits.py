"""COCO's unofficial splits from image ids, and test-dev in the form of an instances file.

minival is the 5,000 images of val2014 that became val2017; trainval35k is train2014 and the other 35,504 images of
val2014. These are the 118,287 images of train2017, so training on either means training on the same images.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import InputError
from pipeline.files import replacing

CODER, WRITER = msgspec.json.Decoder(), msgspec.json.Encoder()  # for files of 450 MB, json is several times slower


def rebuild_trainval35k(annotations: Path) -> dict[str, int]:
    """Write instances_trainval35k.json and instances_minival.json beside COCO's files; return their image counts.

    File names start with the folder, `train2014/` or `val2014/`, because trainval35k has images of both.

    Raises:
        InputError: a file is missing or damaged, or val2017 names an image that val2014 does not have.
    """
    train, val = (instances(annotations / f"instances_{name}2014.json") for name in ("train", "val"))
    wanted = {image["id"] for image in instances(annotations / "instances_val2017.json")["images"]}
    place = annotations / "instances_val2014.json"
    absent = wanted - {image["id"] for image in val["images"]}
    if absent:
        raise InputError(f"{place} has no image {min(absent)}, which val2017 has; download both annotations again.")
    minival = part(val, wanted, "val2014")
    rest = part(val, {image["id"] for image in val["images"]} - wanted, "val2014")
    whole = part(train, {image["id"] for image in train["images"]}, "train2014")
    joined = {key: whole[key] + rest[key] for key in ("images", "annotations")}
    repeated = len(joined["images"]) - len({image["id"] for image in joined["images"]})
    if repeated:
        raise InputError(f"{place} repeats {repeated} image ids of train2014; download the annotations again.")
    counts = {}
    for name, content in (("trainval35k", whole | joined), ("minival", minival)):
        write(annotations / f"instances_{name}.json", content)
        counts[name] = len(content["images"])
    return counts


def rebuild_test_dev(annotations: Path) -> dict[str, int]:
    """Write test_dev2017.json, COCO's image_info_test-dev2017.json without annotations; return its image count."""
    content = read(annotations / "image_info_test-dev2017.json")
    write(annotations / "test_dev2017.json", content | {"annotations": []})
    return {"test_dev2017": len(content["images"])}


def part(coco: dict[str, Any], ids: Collection[int], folder: str) -> dict[str, Any]:
    """Return the images of some ids with their annotations, with the folder in front of each file name."""
    images = [image | {"file_name": f"{folder}/{image['file_name']}"} for image in coco["images"] if image["id"] in ids]
    annotations = [annotation for annotation in coco["annotations"] if annotation["image_id"] in ids]
    return coco | {"images": images, "annotations": annotations}


def instances(path: Path) -> dict[str, Any]:
    """Read an instances file; raise InputError where it is none."""
    content = read(path)
    if not isinstance(content.get("annotations"), list):
        raise InputError(f"{path} has no list of annotations; fetch the data set again.")
    return content


def read(path: Path) -> dict[str, Any]:
    """Read a file of images and categories; raise InputError where it is none."""
    try:
        content = CODER.decode(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; fetch the data set again.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); fetch the data set again.") from error
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise InputError(f"{path} has no list of images; fetch the data set again.")
    return content


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(WRITER.encode(content))
