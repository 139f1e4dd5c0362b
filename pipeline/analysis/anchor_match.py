"""How well a grid of anchors fits a data set's boxes: the best IoU of every box, from labels alone, in NumPy."""

from collections.abc import Sequence

import numpy as np

RATIOS = (0.5, 1.0, 2.0)  # height / width


def anchor_shapes(sides: Sequence[float], base: int = 16, ratios: Sequence[float] = RATIOS) -> np.ndarray:
    """Return (width, height) [len(sides) * len(ratios), 2] of anchors, ratio by ratio.

    As in the public code of Faster R-CNN and its successors, anchors are rounded to whole pixels at the base size and
    then scaled: an anchor of ratio 0.5 at 32 pixels is 46x24.
    """
    shapes = []
    for ratio in ratios:
        width = round(np.sqrt(base**2 / ratio))
        shapes += [(width * side / base, round(width * ratio) * side / base) for side in sides]
    return np.array(shapes, dtype=float).reshape(-1, 2)


def resized(boxes: np.ndarray, sizes: np.ndarray, short_side: float, long_side: float) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes [n, 4] (x, y, w, h) and image sizes [n, 2] (h, w) after every box's image was resized.

    The short side becomes `short_side`, but the long side at most `long_side`; sizes are whole pixels.
    """
    scale = np.minimum(short_side / sizes.min(axis=1), long_side / sizes.max(axis=1))
    new = np.maximum(1, np.round(sizes * scale[:, None]))
    ratio = (new / sizes)[:, ::-1]  # (w, h)
    return boxes * np.concatenate([ratio, ratio], axis=1), new


def best_overlaps(boxes: np.ndarray, sizes: np.ndarray, shapes: np.ndarray, stride: int = 16) -> np.ndarray:
    """Return the highest IoU [n] of every box with any anchor, including anchors that reach out of the image.

    Anchors are centred in the cells of a grid. IoU with one shape rises with the overlap, which is the product of the
    overlaps along both axes. Each of these is largest at the place nearest to the box's centre, so no anchor is laid
    out.

    Args:
        boxes: [n, 4], (x, y, w, h) in network-input pixels.
        sizes: [n, 2], (height, width) of each box's image in the same pixels.
        shapes: [s, 2], (width, height) of the anchors.
        stride: pixels between neighbouring anchors.
    """
    best = np.zeros(len(boxes))
    areas = boxes[:, 2] * boxes[:, 3]
    for width, height in shapes:
        overlap = along(boxes[:, 0], boxes[:, 2], sizes[:, 1], width, stride)
        overlap *= along(boxes[:, 1], boxes[:, 3], sizes[:, 0], height, stride)
        best = np.maximum(best, overlap / (areas + width * height - overlap))
    return best


def along(start: np.ndarray, length: np.ndarray, side: np.ndarray, anchor: float, stride: int) -> np.ndarray:
    """Return the largest overlap [n] of segments [start, start + length] with an anchor's side, along one axis."""
    last = np.ceil(side / stride) - 1
    place = np.clip(np.round((start + length / 2) / stride - 0.5), 0, last)
    centre = (place + 0.5) * stride
    ends = np.minimum(start + length, centre + anchor / 2) - np.maximum(start, centre - anchor / 2)
    return np.clip(ends, 0, None)
