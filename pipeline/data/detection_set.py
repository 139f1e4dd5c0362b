"""Images and objects of one verified split, kept in memory as far as they fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.data import transforms
from pipeline.data.pixels import LEVELS, as_rgb
from pipeline.data.upright import upright
from pipeline.errors import InputError
from pipeline.parts import load

if TYPE_CHECKING:
    from pipeline.data.proposals import Proposals

MEMORY = 1 << 30  # bytes of decoded images that one process keeps


class DetectionSet:
    """One split: images and masks decoded on demand, boxes and labels as tensors.

    Crowd regions are left out (as in every published code base); evaluation reads them from the JSON. Where masks are
    wanted, objects without a usable mask are left out, too (as in Detectron2).

    Attributes:
        entries: image entries of the split, in the order of their ids.
        boxes: per image [n, 4], half-open xyxy in file pixels.
        labels: per image [n], 1 to K.
        has_masks: whether `masks` gives the objects' masks.
        proposals: of another experiment's network, where regions are classified; otherwise None.
    """

    proposals: Proposals | None = None

    def __init__(self, split: dict[str, Any], limit: int | None = None, masks: bool = False) -> None:
        """Read a split's first `limit` images; raise InputError where `masks` are wanted and the split has none."""
        if masks:
            load("masks").check_masks(split)
        self.has_masks = masks
        self.root = Path(split["images_root"])
        self.entries = split["images"][:limit]
        self.classes = len(split["categories"])
        index = {entry["id"]: row for row, entry in enumerate(self.entries)}
        boxes: list[list[list[float]]] = [[] for _ in self.entries]
        labels: list[list[int]] = [[] for _ in self.entries]
        self._codes: list[list[bytes | str]] = [[] for _ in self.entries]  # in this form, COCO's masks take 0.3 GB
        for annotation in split["annotations"]:
            row = index.get(annotation["image_id"])
            if row is None or annotation["iscrowd"] or (masks and "segmentation" not in annotation):
                continue
            x, y, w, h = annotation["bbox"]
            boxes[row].append([x, y, x + w, y + h])
            labels[row].append(annotation["category_id"])
            if masks:
                self._codes[row].append(load("masks").encode(annotation["segmentation"], *self.size(row))["counts"])
        self.boxes = [torch.tensor(rows, dtype=torch.float32).reshape(-1, 4) for rows in boxes]
        self.labels = [torch.tensor(rows, dtype=torch.int64) for rows in labels]
        pixels = sum(entry["width"] * entry["height"] for entry in self.entries)
        self._cache: dict[int, Tensor] | None = {} if 3 * pixels <= MEMORY else None

    def __len__(self) -> int:
        return len(self.entries)

    def image(self, row: int) -> Tensor:
        """Return image `row` as uint8 [3, H, W]; raise InputError where it changed since it was verified."""
        if self._cache is not None and row in self._cache:
            return self._cache[row]
        image = read_image(self.root, self.entries[row])
        if self._cache is not None:
            self._cache[row] = image
        return image

    def masks(self, row: int) -> Tensor:
        """Return the masks of image `row`, uint8 [n, H, W] of 0 and 1 in file pixels."""
        return torch.from_numpy(load("masks").decode(self._codes[row], *self.size(row)))

    def size(self, row: int) -> tuple[int, int]:
        """Return (height, width) of image `row` in file pixels."""
        return self.entries[row]["height"], self.entries[row]["width"]


def origins(data: DetectionSet, rows: list[int]) -> dict[str, list]:
    """Return `image_ids` and `file_names` of images by row, for the report of a failed step."""
    entries = [data.entries[row] for row in rows]
    return {"image_ids": [e["id"] for e in entries], "file_names": [e["file_name"] for e in entries]}


def fitting_size(data: DetectionSet, row: int, short: float, long: float) -> tuple[int, int]:
    """Return (height, width) of image `row` at a network-input size (short and long side in pixels)."""
    old = data.size(row)
    return transforms.scaled_size(*old, transforms.fitting_scale(*old, short, long))


def load_scaled(data: DetectionSet, row: int, short: float, long: float) -> tuple[Tensor, Tensor]:
    """Return image `row` and its boxes at a network-input size (short and long side in pixels)."""
    old, new = data.size(row), fitting_size(data, row, short, long)
    return transforms.resize(data.image(row), new), transforms.resize_boxes(data.boxes[row], old, new)


def scaled_masks(
    data: DetectionSet,
    row: int,
    size: tuple[int, int],
    window: transforms.Window | None = None,
    flipped: bool = False,
) -> dict[str, Tensor]:
    """Return `masks` of image `row` as the network sees it (`transforms.resample_masks`), or nothing without masks.

    Args:
        data: the image's data set.
        row: the image's row in it.
        size: (h, w) to which the image is resized.
        window: the part of the resized image that is trained on.
        flipped: whether that part is mirrored.
    """
    if not data.has_masks:
        return {}
    return {"masks": transforms.resample_masks(data.masks(row), size, window, flipped)}


def read_image(root: Path, entry: dict[str, Any]) -> Tensor:
    """Decode one image as RGB uint8 [3, H, W], a pixel's values side by side in memory.

    Raises:
        InputError: it is missing, broken or of another size.
    """
    path = root / entry["file_name"]
    try:
        with Image.open(path) as opened:
            image = upright(opened) if entry.get("exif") else opened
            pixels = np.array(as_rgb(image, entry.get("levels", LEVELS)))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"Image {path} was verified and cannot be read now ({error}); restore it, or run the verify stage again."
        ) from error
    if pixels.shape[:2] != (entry["height"], entry["width"]):
        now, then = f"{pixels.shape[1]}x{pixels.shape[0]}", f"{entry['width']}x{entry['height']}"
        raise InputError(f"Image {path} is {now} and was {then} when it was verified; run the verify stage again.")
    return torch.from_numpy(pixels).permute(2, 0, 1)
