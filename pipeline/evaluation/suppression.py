"""Soft-NMS (Bodla et al., "Improving object detection with one line of code"), with hard NMS as a method of it."""

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import nearest

METHODS = ("gaussian", "linear", "hard")
SLACK = 0.99  # factor on scores that decide whether to stop, so that rounding to the input's precision hides no tie


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    method: str = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    score_threshold: float = 0.001,
    limit: int | None = None,
    least: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Repeatedly pick the box with the highest live score and decay the scores of the boxes that overlap it.

    "gaussian" multiplies by exp(-iou^2 / sigma) (equation 3). Above `iou_threshold`, "linear" multiplies by 1 - iou
    (equation 2) and "hard" by 0 (plain NMS). A box is dropped only when an overlap takes its score below
    `score_threshold`: a box that starts below it and overlaps nothing stays.

    Args:
        boxes: [n, 4] half-open xyxy, px.
        scores: [n].
        limit: number of picks after which the rest may be left out, except ties with the last; None means no limit.
        least: decayed score below which picks may be left out. Live scores only fall, so what is left out would not
            have changed an earlier pick.

    Returns:
        Kept indices [k] (int64) in pick order and their decayed scores [k], on the input's device. Equal scores are in
        the order of the official code, which moves the last box into a dropped one's place.

    Raises:
        ValueError: an unknown method, a sigma of 0 or less, or shapes that do not fit.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}{nearest(str(method), METHODS)}.")
    if sigma <= 0:
        raise ValueError(f"sigma must be above 0, got {sigma}.")
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(f"boxes must be [n, 4] and scores [n], got {list(boxes.shape)} and {list(scores.shape)}.")
    # each pick depends on the one before: NumPy runs these thousand tiny steps several times faster than torch
    corners = boxes.detach().cpu().double().numpy().T.copy()  # [4, n]: x1, y1, x2, y2
    live = scores.detach().cpu().double().numpy().copy()
    areas = (corners[2] - corners[0]) * (corners[3] - corners[1])
    index = np.arange(len(live))
    end = len(live)
    pick = 0
    while pick < end:
        best = pick + int(live[pick:end].argmax())
        if live[best] < SLACK * max(least, live[limit - 1] if limit and pick >= limit else 0.0):
            end = pick
            break
        if best != pick:
            swap, back = [pick, best], [best, pick]
            corners[:, swap], live[swap] = corners[:, back], live[back]
            areas[swap], index[swap] = areas[back], index[back]
        rest = slice(pick + 1, end)
        pick += 1
        iou = _iou(corners[:, pick - 1], areas[pick - 1], corners[:, rest], areas[rest])
        dropped = iou > 0
        if not dropped.any():
            continue
        live[rest] *= _decay(iou, method, sigma, iou_threshold)
        dropped &= live[rest] < score_threshold
        if method == "hard":
            dropped |= iou > iou_threshold  # also with a score threshold of 0
        if dropped.any():
            kept = end - pick - int(dropped.sum())
            holes = pick + np.flatnonzero(dropped[:kept])
            fill = pick + kept + np.flatnonzero(~dropped[kept:])[::-1]
            corners[:, holes], live[holes] = corners[:, fill], live[fill]
            areas[holes], index[holes] = areas[fill], index[fill]
            end = pick + kept
    kept_index = torch.from_numpy(index[:end].copy()).to(boxes.device)
    return kept_index, torch.from_numpy(live[:end].copy()).to(scores)


def _iou(box: np.ndarray, area: float, others: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Return the IoU [m] of a box [4] with others [4, m]; 0 where they do not overlap."""
    width = np.minimum(box[2], others[2]) - np.maximum(box[0], others[0])
    height = np.minimum(box[3], others[3]) - np.maximum(box[1], others[1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    return np.divide(shared, area + areas - shared, out=np.zeros_like(shared), where=shared > 0)


def _decay(iou: np.ndarray, method: str, sigma: float, iou_threshold: float) -> np.ndarray:
    if method == "gaussian":
        return np.exp(-(iou**2) / sigma)
    return np.where(iou > iou_threshold, 1 - iou if method == "linear" else 0.0, 1.0)
