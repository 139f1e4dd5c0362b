"""Images and objects of one verified split, in memory as far as they fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from pipeline.errors import InputError

MEMORY = 1 << 30  # bytes of decoded images that one process keeps


class DetectionSet:
    """One split: decoded images on demand, boxes and labels as tensors.

    Crowd regions are no training objects (as in every published code base); evaluation reads them from the JSON.

    Attributes:
        entries: image entries of the split, in the order of their ids.
        boxes: per image [n, 4], half-open xyxy in file pixels.
        labels: per image [n], 1 ... K.
    """

    def __init__(self, split: dict[str, Any], limit: int | None = None) -> None:
        self.root = Path(split["images_root"])
        self.entries = split["images"][:limit]
        self.classes = len(split["categories"])
        index = {entry["id"]: row for row, entry in enumerate(self.entries)}
        boxes: list[list[list[float]]] = [[] for _ in self.entries]
        labels: list[list[int]] = [[] for _ in self.entries]
        for annotation in split["annotations"]:
            row = index.get(annotation["image_id"])
            if row is None or annotation["iscrowd"]:
                continue
            x, y, w, h = annotation["bbox"]
            boxes[row].append([x, y, x + w, y + h])
            labels[row].append(annotation["category_id"])
        self.boxes = [torch.tensor(rows, dtype=torch.float32).reshape(-1, 4) for rows in boxes]
        self.labels = [torch.tensor(rows, dtype=torch.int64) for rows in labels]
        pixels = sum(entry["width"] * entry["height"] for entry in self.entries)
        self._cache: dict[int, Tensor] | None = {} if 3 * pixels <= MEMORY else None

    def __len__(self) -> int:
        return len(self.entries)

    def image(self, row: int) -> Tensor:
        """Return image `row` as uint8 [3, H, W]. Raises InputError where it changed since it was verified."""
        if self._cache is not None and row in self._cache:
            return self._cache[row]
        image = read_image(self.root, self.entries[row])
        if self._cache is not None:
            self._cache[row] = image
        return image

    def size(self, row: int) -> tuple[int, int]:
        """Return (height, width) of image `row` in file pixels."""
        return self.entries[row]["height"], self.entries[row]["width"]


def read_image(root: Path, entry: dict[str, Any]) -> Tensor:
    """Decode one image as RGB uint8 [3, H, W]. Raises InputError where it is gone, broken or of another size."""
    path = root / entry["file_name"]
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened) if entry.get("exif") else opened
            pixels = np.array(as_rgb(image))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"Image {path} was verified and cannot be read now ({error}); restore it, or run the verify stage again."
        ) from error
    if pixels.shape[:2] != (entry["height"], entry["width"]):
        now, then = f"{pixels.shape[1]}x{pixels.shape[0]}", f"{entry['width']}x{entry['height']}"
        raise InputError(f"Image {path} is {now} and was {then} when it was verified; run the verify stage again.")
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def as_rgb(image: Image.Image) -> Image.Image:
    """Return an image as 8-bit RGB; 16-bit greys keep their upper byte, which Pillow would saturate to white."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        image = Image.fromarray((grey >> 8).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")
