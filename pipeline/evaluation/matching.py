"""COCO's greedy matching of detections to ground truth, at all IoU thresholds and area ranges at once."""

import numpy as np


def match_image(
    ious: np.ndarray, ignore: np.ndarray, crowd: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Match the detections of one image and category, best score first, as pycocotools' `evaluateImg` does.

    A detection takes the free ground truth with the highest IoU at or above the threshold, and among equals the last.
    It takes an ignored one only where no other is left. A crowd stays free.

    Args:
        ious: [D, G], detections in falling order of score.
        ignore: bool [A, G], the ground truth that an area range ignores (crowds included).
        crowd: bool [G].
        thresholds: [T].

    Returns:
        Two bool [A, T, D]: whether a detection is matched, and whether it is matched to an ignored ground truth.
    """
    n_detections, n_truths = ious.shape
    matched = np.zeros((len(ignore), len(thresholds), n_detections), dtype=bool)
    ignored = np.zeros_like(matched)
    if n_truths == 0:
        return matched, ignored
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    free = np.ones((len(ignore), len(thresholds), n_truths), dtype=bool)
    ignore = ignore[:, None, :]
    for d in np.flatnonzero(ious.max(axis=1) >= least.min()):
        candidate = free & (ious[d] >= least)  # [A, T, G]
        regular = candidate & ~ignore
        has_regular = regular.any(axis=2, keepdims=True)
        candidate = np.where(has_regular, regular, candidate)
        found = candidate.any(axis=2)
        # reversed, because argmax returns the first maximum and the last one is needed
        best = n_truths - 1 - np.where(candidate, ious[d], -1.0)[:, :, ::-1].argmax(axis=2)
        matched[:, :, d] = found
        ignored[:, :, d] = found & ~has_regular[:, :, 0]
        a, t = np.nonzero(found & ~crowd[best])
        free[a, t, best[a, t]] = False
    return matched, ignored
