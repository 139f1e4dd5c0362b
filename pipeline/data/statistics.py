"""Scale statistics of a data set in COCO format, and how far they are from COCO's own, in NumPy."""

from typing import Any

import numpy as np

SIZE_CLASSES = ("small", "medium", "large")
QUANTILES = (0.1, 0.5, 0.9)
HISTOGRAM_EDGES = tuple(float(edge) for edge in np.arange(-8, 0.5, 0.5))

# name: (wanted, tolerance); shares by mask area are those of train2017, relative scales those of SNIP, section 1
WANTED: dict[str, tuple[float, float]] = {
    "object_share_small": (0.41, 0.03),
    "object_share_medium": (0.34, 0.03),
    "object_share_large": (0.25, 0.03),
    "image_share_small": (0.52, 0.03),
    "image_share_medium": (0.71, 0.03),
    "image_share_large": (0.83, 0.03),
    "relative_scale_q10": (0.024, 0.006),
    "relative_scale_q50": (0.106, 0.016),
    "relative_scale_q90": (0.472, 0.05),
}


def scale_statistics(coco: dict[str, Any], factor: float) -> dict[str, Any]:
    """Return statistics of the sizes of objects; those that cannot be computed are None.

    Size classes are COCO's, by mask area, with limits (32*factor)^2 and (96*factor)^2; an annotation without `area`
    counts by its box. Relative scale is sqrt(box area / image area) (SNIP, figure 1). Crowds, boxes without a size and
    annotations of unknown images are left out and counted in `left_out`.
    """
    sizes = {image["id"]: float(image["width"]) * float(image["height"]) for image in coco.get("images", [])}
    crowds, unusable = 0, 0
    images, box_areas, areas = [], [], []
    for annotation in coco.get("annotations", []):
        if annotation.get("iscrowd", 0):
            crowds += 1
            continue
        width, height = (float(side) for side in (annotation.get("bbox") or (0, 0, 0, 0))[2:4])
        if not (width > 0 and height > 0 and np.isfinite(width * height)) or not sizes.get(annotation["image_id"], 0):
            unusable += 1
            continue
        area = annotation.get("area")
        images.append(annotation["image_id"])
        box_areas.append(width * height)
        areas.append(width * height if area is None else float(area))

    row = {image: k for k, image in enumerate(sizes)}
    rows = np.array([row[image] for image in images], dtype=int)
    left_out = {"crowd": crowds, "unusable": unusable}
    return count_scales(np.array(list(sizes.values())), rows, np.array(box_areas), np.array(areas), factor, left_out)


def count_scales(
    image_areas: np.ndarray,
    rows: np.ndarray,
    box_areas: np.ndarray,
    areas: np.ndarray,
    factor: float,
    left_out: dict[str, int],
) -> dict[str, Any]:
    """Return statistics of the sizes of objects, from arrays; those that cannot be computed are None.

    Args:
        image_areas: [I], in px^2.
        rows: [n], the image of each object.
        box_areas: [n], px^2, for relative scales.
        areas: [n], px^2, for size classes.
        factor: of COCO's limits 32 and 96.
        left_out: numbers of annotations left out, by reason; returned as they are.
    """
    limits = np.array([(32 * factor) ** 2, (96 * factor) ** 2])
    size_class = np.digitize(areas, limits)
    relative = np.sqrt(box_areas / image_areas[rows]) if len(rows) else np.zeros(0)
    counts = np.zeros((len(image_areas), len(SIZE_CLASSES)), dtype=int)
    np.add.at(counts, (rows, size_class), 1)
    per_image = counts.sum(1)

    statistics: dict[str, Any] = {
        "factor": factor,
        "images": len(image_areas),
        "objects": len(areas),
        "images_without_objects": int((per_image == 0).sum()),
        "left_out": left_out,
        "object_counts": dict(zip(SIZE_CLASSES, counts.sum(0).tolist(), strict=True)),
        "objects_per_image_mean": float(per_image.mean()) if len(image_areas) else None,
        "objects_per_image": {
            f"q{round(100 * q)}": float(np.quantile(per_image, q)) if len(image_areas) else None
            for q in (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
        },
    }
    for k, name in enumerate(SIZE_CLASSES):
        statistics[f"object_share_{name}"] = float((size_class == k).mean()) if len(areas) else None
    for k, name in enumerate(SIZE_CLASSES):
        statistics[f"image_share_{name}"] = float((counts[:, k] > 0).mean()) if len(image_areas) else None
    for quantile in QUANTILES:
        value = float(np.quantile(relative, quantile)) if len(areas) else None
        statistics[f"relative_scale_q{round(100 * quantile)}"] = value
    # the ratio of the largest to the smallest object: the data set's scale range
    statistics["scale_range"] = float(relative.max() / relative.min()) if len(areas) else None
    inside = np.clip(np.log2(relative), HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1])
    histogram = np.histogram(inside, HISTOGRAM_EDGES)[0]
    statistics["histogram_log2_relative_scale"] = {"edges": list(HISTOGRAM_EDGES), "counts": histogram.tolist()}
    return statistics


def compare(statistics: dict[str, Any]) -> list[dict[str, Any]]:
    """Return rows {name, wanted, tolerance, achieved, within}; `within` is False where `achieved` is missing."""
    rows = []
    for name, (wanted, tolerance) in WANTED.items():
        achieved = statistics[name]
        within = achieved is not None and abs(achieved - wanted) <= tolerance + 1e-12
        rows.append({"name": name, "wanted": wanted, "tolerance": tolerance, "achieved": achieved, "within": within})
    return rows
