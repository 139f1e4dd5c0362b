"""Average precision and recall from contributions, with every image taken as often as weights say."""

import numpy as np

from pipeline.evaluation.contributions import CategoryTable, Contributions
from pipeline.evaluation.protocol import IOU_THRESHOLDS, RECALL_THRESHOLDS

DRAWS_AT_ONCE = 200  # the largest category of COCO takes 0.2 GB
ROWS_AT_ONCE = 200  # stay in a processor's cache


def mean_ap(found: Contributions, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return ap, ap50, ap75 and ap_<range> [B], means over the categories of a draw; NaN where there is none.

    Args:
        found: an evaluation.
        weights: int32 [images, B], how often each image occurs in B draws.
    """
    shape = (len(found.tables), len(found.ranges), len(IOU_THRESHOLDS), weights.shape[1])
    values = np.array([average_precision(table, weights) for table in found.tables]).reshape(shape)
    parts = {"ap": values[:, 0], "ap50": values[:, 0, :1], "ap75": values[:, 0, 5:6]}
    parts |= {f"ap_{name}": values[:, a] for a, name in enumerate(found.ranges) if a}
    return {name: mean_of_present(part) for name, part in parts.items()}


def mean_of_present(values: np.ndarray) -> np.ndarray:
    """Return the mean [B] of the numbers among values [K, T, B]; NaN where there is none."""
    present = ~np.isnan(values)
    number = present.sum(axis=(0, 1))
    total = np.where(present, values, 0.0).sum(axis=(0, 1))
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def average_precision(table: CategoryTable, weights: np.ndarray) -> np.ndarray:
    """Return AP [A, T, B] at 101 recalls; NaN where no object counts.

    Recall rises and precision peaks only at true positives, so only those rows are needed; the detections between them
    enter through the running count. Repeats of an image are one row of larger weight. Precision inside such a row never
    exceeds the larger of its ends, so COCO's envelope is the same.

    Args:
        table: a category's detections.
        weights: int32 [images, B], how often each image occurs in B draws.
    """
    starts = range(0, max(weights.shape[1], 1), DRAWS_AT_ONCE)
    parts = [_average_precision(table, np.ascontiguousarray(weights[:, s : s + DRAWS_AT_ONCE])) for s in starts]
    return np.concatenate(parts, axis=2)


def _average_precision(table: CategoryTable, weights: np.ndarray) -> np.ndarray:
    areas, thresholds, _ = table.positive.shape
    draws = weights.shape[1]
    result = np.full((areas, thresholds, draws), np.nan)
    near = weights[table.image[table.near]]  # [M, B]
    for a in range(areas):
        truths = weights[table.truth_image[table.truth_counts[a]]].sum(axis=0)
        if not truths.any():
            continue
        inside = table.inside[a]
        # of all detections inside the range; those that are matched across its border are corrected below
        running = _sums_at(np.cumsum(inside)[table.near], weights, table.image[inside])  # [M, B]
        numbers, own = np.unique(truths, return_inverse=True)
        reached = _recalls_reached(numbers)
        columns = own * reached.shape[1]
        change = table.positive[a].astype(np.int32) * ~inside[table.near] - table.ignored[a] * inside[table.near]
        for t in range(thresholds):
            positive = np.flatnonzero(table.positive[a, t])
            hits = _sums(near[positive])  # [P + 1, B]
            counted = running[positive]
            changed = np.flatnonzero(change[t])
            if len(changed):
                more = np.cumsum(near[changed] * change[t, changed, None], axis=0, dtype=np.int32)
                counted += np.concatenate([np.zeros_like(more[:1]), more])[np.searchsorted(changed, positive, "right")]
            precision = hits[1:] / np.maximum(counted, 1)
            # the envelope; positive floats are ordered as their bits, whose maximum is found in half the time
            bits = precision.view(np.int64)[::-1]
            envelope = _accumulate(np.maximum, bits, bits)[::-1].view(np.float64)
            # number of recall thresholds reached at each row; a threshold belongs to the first row that reaches it
            counts = reached.take(hits + columns)
            counts[0] = 0
            gained = counts[1:] - counts[:-1]
            result[a, t] = np.einsum("pb,pb->b", envelope, gained) / len(RECALL_THRESHOLDS)
        result[a][:, truths == 0] = np.nan
    return result


def recall(table: CategoryTable, limit: int) -> np.ndarray:
    """Return the share [A, T] of objects found by the `limit` best detections of each image; NaN where none counts."""
    truths = table.truth_counts.sum(axis=1)[:, None]
    hits = table.positive[:, :, table.rank < limit].sum(axis=2)
    return np.where(truths > 0, hits / np.maximum(truths, 1), np.nan)


def _sums(rows: np.ndarray) -> np.ndarray:
    """Return the sums [n + 1, B] of the first 0 to n rows [n, B]."""
    sums = np.zeros((len(rows) + 1, rows.shape[1]), dtype=rows.dtype)
    _accumulate(np.add, _paired(rows), _paired(sums)[1:])
    return sums


def _paired(rows: np.ndarray) -> np.ndarray:
    """Return int32 rows of numbers from 0 as int64, two columns in one: their sums are those of both, in half the time.

    Rows of an odd number of columns are returned as they are.
    """
    return rows if rows.shape[1] % 2 else rows.view(np.int64)


def _sums_at(places: np.ndarray, weights: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the sums [M, B] of the first places[m] of the rows weights[images]; places [M] do not fall."""
    found = np.zeros((len(places), weights.shape[1]), dtype=weights.dtype)
    total = found.sum(axis=0, dtype=weights.dtype)
    for start in range(0, places.max(initial=0), ROWS_AT_ONCE):
        rows = weights[images[start : start + ROWS_AT_ONCE]]
        rows[0] += total
        np.add.accumulate(_paired(rows), axis=0, out=_paired(rows))
        here = slice(*np.searchsorted(places, (start, start + len(rows)), side="right"))
        found[here] = rows[places[here] - start - 1]
        total = rows[-1]
    return found


def _accumulate(operation: np.ufunc, rows: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write `operation.accumulate` of rows [n, B]; by itself, it would walk down one column after the other."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = out[start : start + ROWS_AT_ONCE]
        operation.accumulate(rows[start : start + ROWS_AT_ONCE], axis=0, out=part)
        if start:
            operation(part, out[start - 1], out=part)
    return out


def _recalls_reached(truths: np.ndarray) -> np.ndarray:
    """Return how many recall thresholds 0 to n hits of so many truths [N] reach, uint8 [N, n + 1]; n is the largest."""
    recalls = np.arange(truths.max() + 1) / np.maximum(truths, 1)[:, None]
    return np.searchsorted(RECALL_THRESHOLDS, recalls, side="right").astype(np.uint8)
