"""ScaleWorld: an embedded detection data set of rendered scenes whose scale statistics follow COCO's.

A scene depends only on (seed, split, index), so any subset can be rendered again, in any order, to the same bytes.
"""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from pipeline.data.scaleworld.composition import Item, Scene, compose_scene, draw_pose, place_clutter, put, stratum
from pipeline.data.scaleworld.render import paint_scene
from pipeline.data.scaleworld.shapes import CATEGORIES, draw_parts, rasterise, unit_area
from pipeline.errors import InputError
from pipeline.files import replacing, write_json

CROP_SCALE = 0.554  # ImageNet's median relative scale of an object in its image (SNIP, section 1 and figure 1)
CROP_STREAM, START_STREAM = 1, 2  # fourth word of a seed, which those of scenes do not have


def render_scene(seed: int, index: int, split: str, factor: float) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the image [H, W, 3] uint8 of a scene and its annotations.

    An annotation has `category` (from 1), `bbox` (x, y, w, h in pixels, tight around the visible mask), `area` (of the
    visible mask), `segmentation` (COCO RLE, counts as text) and `iscrowd` 0. An image of factor f is 640f x 480f pixels
    or, in a quarter of the scenes, 480f x 640f. Raise InputError where seed, index or factor is out of range.
    """
    rng, scene = _compose(seed, index, split, factor)
    return paint_scene(rng, scene), _annotations(scene)


def annotate_scene(seed: int, index: int, split: str, factor: float) -> tuple[int, int, list[dict[str, Any]]]:
    """Return the height, width and annotations of a scene as `render_scene` does, without painting it."""
    _, scene = _compose(seed, index, split, factor)
    return *scene.owner.shape, _annotations(scene)


def write_split(folder: Path, split: str, count: int, seed: int, factor: float) -> dict[str, Any]:
    """Render `count` scenes below `folder` and return the COCO dictionary.

    Write `images/<split>/<split>_<index>.png` and, last, `annotations/instances_<split>.json`, in which file names are
    relative to `images/<split>`.
    """
    if not 0 <= count < 10**6:
        raise InputError(f"A ScaleWorld split has 0 to 999999 images, not {count}; correct its count.")
    _check(seed, 0, factor)
    images = Path(folder) / "images" / split
    images.mkdir(parents=True, exist_ok=True)
    coco: dict[str, Any] = {
        "info": {"description": "ScaleWorld", "split": split, "seed": seed, "factor": factor},
        "images": [],
        "annotations": [],
        "categories": [{"id": k, "name": name} for k, name in enumerate(CATEGORIES, 1)],
    }
    for index in range(count):
        image, annotations = render_scene(seed, index, split, factor)
        name, (height, width) = f"{split}_{index:06d}.png", image.shape[:2]
        with replacing(images / name) as temporary:
            Image.fromarray(image).save(temporary, compress_level=1)
        coco["images"].append({"id": index + 1, "file_name": name, "height": height, "width": width})
        for annotation in annotations:
            category = annotation.pop("category")
            entry = {"id": len(coco["annotations"]) + 1, "image_id": index + 1, "category_id": category}
            coco["annotations"].append(entry | annotation)
    write_json(Path(folder) / "annotations" / f"instances_{split}.json", coco, indent=None)
    return coco


def render_object_crops(seed: int, split: str, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `count` images [n, size, size, 3] uint8 of one object each, and the categories [n] int64 from 0.

    They replace ImageNet in a preset without downloads. They have the same drawings, textures, backgrounds and clutter
    as scenes, with objects that fill half of the image side.
    """
    if size < 16:
        raise InputError(f"A ScaleWorld crop is at least 16 pixels wide, not {size}; correct the size.")
    if count < 0:
        raise InputError(f"ScaleWorld cannot render {count} crops; give a count from 0 on.")
    images = np.zeros((count, size, size, 3), np.uint8)
    labels = np.zeros(count, np.int64)
    for index in range(count):
        rng = _generator(seed, split, index, CROP_STREAM)
        labels[index] = rng.integers(len(CATEGORIES))
        images[index] = paint_scene(rng, _crop_scene(rng, int(labels[index]) + 1, size))
    return images, labels


def _crop_scene(rng: np.random.Generator, category: int, size: int) -> Scene:
    # A crop represents the surroundings of an object that is about 60 pixels wide at 640x480.
    scene = Scene(np.zeros((size, size), np.int16), size * CROP_SCALE / 100)
    for _ in range(rng.poisson(1.5)):
        place_clutter(rng, scene, float(np.exp(rng.uniform(np.log(15), np.log(60)))))
    scale = float(np.clip(CROP_SCALE * np.exp(rng.normal(0, 0.3)), 0.2, 0.95)) * size
    parts, pose = draw_parts(category, rng), draw_pose(rng, category)
    trial = rasterise(parts, pose, scale / unit_area(category) ** 0.5)
    box = np.sqrt(np.prod([np.ptp(np.nonzero(trial.mask.any(axis))[0]) + 1 for axis in (0, 1)]))
    sprite = rasterise(parts, pose, scale / unit_area(category) ** 0.5 * scale / box)
    area = int(sprite.mask.sum())
    free = size - np.array(sprite.mask.shape)
    # An object that fits has a random place inside the image; one that does not fit is centred.
    y, x = (round(float(rng.uniform(0, room))) if room > 0 else room // 2 for room in free.tolist())
    put(scene, Item(category, sprite, x, y, area, area))
    return scene


def _compose(seed: int, index: int, split: str, factor: float) -> tuple[np.random.Generator, Scene]:
    _check(seed, index, factor)
    rng = _generator(seed, split, index)
    start = _generator(seed, split, 0, START_STREAM).random(4)
    return rng, compose_scene(rng, factor, stratum(start, index))


def _generator(seed: int, split: str, index: int, *stream: int) -> np.random.Generator:
    """Return the random generator of one scene; every word of its seed has 32 bits, so that no two scenes share it."""
    _check(seed, index)
    words = [seed, zlib.crc32(split.encode()), index, *stream]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def _check(seed: int, index: int, factor: float = 1.0) -> None:
    for name, value in (("seed", seed), ("index", index)):
        if not 0 <= value < 2**32:
            raise InputError(f"A ScaleWorld {name} lies in 0 to 2^32 - 1, not {value}; correct it.")
    if not 0.1 <= factor <= 8:
        raise InputError(f"A ScaleWorld factor lies in 0.1 to 8 (64x48 to 5120x3840), not {factor}; correct it.")


def _annotations(scene: Scene) -> list[dict[str, Any]]:
    annotations = []
    for number, item in scene.objects:
        mask = scene.owner == number
        x, y = (np.nonzero(mask.any(axis))[0] for axis in (0, 1))
        encoded = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
        annotations.append(
            {
                "category": item.category,
                "bbox": [float(x[0]), float(y[0]), float(x[-1] - x[0] + 1), float(y[-1] - y[0] + 1)],
                "area": float(item.visible),
                "segmentation": {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")},
                "iscrowd": 0,
            }
        )
    return annotations
