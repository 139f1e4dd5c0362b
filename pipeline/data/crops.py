"""Single-object images for classification: a preset's substitute for ImageNet."""

import numpy as np
import torch
from torch import Tensor

from pipeline.data import transforms
from pipeline.data.detection_set import DetectionSet
from pipeline.errors import InputError
from pipeline.parts import load
from pipeline.preset import Preset

DRAWS, SMALLEST = 20, 0.25  # of a place without an object: attempts, least part of a box's side
RELATIVE_SCALE = 0.55  # of an object in its image: ImageNet's median (SNIP, figure 1)


def training_crops(preset: Preset, data: DetectionSet | None) -> tuple[Tensor, Tensor]:
    """Return images [n, 3, S, S] uint8 and labels [n] (from 0) of the preset's training objects.

    ScaleWorld renders single objects; photographs are cropped around their annotated training boxes.
    """
    size, count, seed = preset.training.pretrain_size, preset.training.pretrain_images, preset.data.seed
    if preset.data.kind == "scaleworld":
        images, labels = load("scaleworld").render_object_crops(seed, "train", count, size)
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))), torch.from_numpy(labels).long()
    if data is None:
        raise InputError("Crops of photographs need the verified training split; run the verify stage.")
    return cut_objects(data, count, size, seed)


def cut_objects(data: DetectionSet, count: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return `count` square crops around random training boxes, preferring large ones where there are more.

    Large boxes come first because enlarged small ones show little of their class. A set of one category has nothing to
    tell apart: every second crop of it shows a place without an object, as a second class.
    """
    boxes = [(row, index) for row in range(len(data)) for index in range(len(data.labels[row]))]
    if not boxes:
        raise InputError("The training split has no box to cut out; annotate some, or take another split.")
    sides = np.array([float(transforms.sides(data.boxes[row][index : index + 1])) for row, index in boxes])
    chosen = np.argsort(-sides, kind="stable")[:count]
    chosen = chosen[np.random.Generator(np.random.PCG64(seed)).permutation(len(chosen))]
    alone = data.classes == 1
    draws = np.random.Generator(np.random.PCG64([seed, 1]))
    images, labels = [], []
    for number in sorted(chosen.tolist()):
        row, index = boxes[number]
        box = data.boxes[row][index]
        empty = place_without(data, row, box, draws) if alone and number % 2 else None
        images.append(cut(data.image(row), box if empty is None else empty, size))
        labels.append(int(data.labels[row][index]) - 1 if empty is None else 1)
    return torch.stack(images), torch.tensor(labels)


def place_without(data: DetectionSet, row: int, box: Tensor, draws: np.random.Generator) -> Tensor | None:
    """Return a box like `box` that meets no object of the image, at most as large; None where no draw finds one."""
    height, width = data.size(row)
    sides = (box[2:] - box[:2]).numpy()
    for _ in range(DRAWS):
        w, h = sides * draws.uniform(SMALLEST, 1)
        x, y = draws.uniform(0, 1, 2) * (width - w, height - h)
        place = torch.tensor([x, y, x + w, y + h], dtype=torch.float32)
        corners = torch.maximum(place[:2], data.boxes[row][:, :2]), torch.minimum(place[2:], data.boxes[row][:, 2:])
        if not (corners[0] < corners[1]).all(dim=1).any():
            return place
    return None


def cut(image: Tensor, box: Tensor, size: int) -> Tensor:
    """Return a square [3, size, size] uint8 around a box, in which the box has ImageNet's relative scale."""
    x1, y1, x2, y2 = box.tolist()
    side = max(((x2 - x1) * (y2 - y1)) ** 0.5 / RELATIVE_SCALE, x2 - x1, y2 - y1)
    centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
    height, width = image.shape[-2:]
    left, top = max(0, int(centre_x - side / 2)), max(0, int(centre_y - side / 2))
    right, bottom = min(width, int(centre_x + side / 2) + 1), min(height, int(centre_y + side / 2) + 1)
    piece = transforms.resize(image[:, top:bottom, left:right], (size, size))
    return piece.mul(255).round().clamp(0, 255).to(torch.uint8)
