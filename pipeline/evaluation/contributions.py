"""What every image contributes to COCO's numbers: detections matched once, for any weights of the images."""

import os
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np

from pipeline.evaluation.inputs import read_detections, read_ground_truth
from pipeline.evaluation.matching import Matches, find_overlaps, match, places
from pipeline.evaluation.protocol import IOU_THRESHOLDS, MAX_DETECTIONS, AreaRanges, all_area_ranges


@dataclass(frozen=True)
class CategoryTable:
    """The D detections of one category, best score first, and its G objects, in A area ranges at T thresholds.

    M of the detections overlap an object and may be matched; the others are false where they are `inside`.
    """

    image: np.ndarray  # int32 [D], row of the image
    inside: np.ndarray  # bool [A, D]
    near: np.ndarray  # int32 [M], the detections that overlap an object, rising
    rank: np.ndarray  # int32 [M], place among the detections of the same image, from 0
    positive: np.ndarray  # bool [A, T, M], true positives
    ignored: np.ndarray  # bool [A, T, M], neither true nor false: matched to an object that does not count
    truth_image: np.ndarray  # int32 [G]
    truth_counts: np.ndarray  # bool [A, G]


@dataclass(frozen=True)
class Contributions:
    """The tables of one evaluation by category; 250,000 detections on 5,000 images take about 10 MB."""

    image_ids: tuple[int, ...]  # rising; rows of images refer to them
    ranges: tuple[str, ...]  # A names, the first is "all"
    tables: tuple[CategoryTable, ...]

    @property
    def nbytes(self) -> int:
        """Return the bytes of all tables."""
        return sum(array.nbytes for table in self.tables for array in vars(table).values())


def contributions_of(
    ground_truth: dict | str | os.PathLike,
    detections: list[dict] | str | os.PathLike,
    iou_type: str = "bbox",
    area_ranges: AreaRanges | None = None,
) -> Contributions:
    """Match detections to the ground truth. Arguments and errors are those of `evaluate_detections`."""
    truth = read_ground_truth(ground_truth, iou_type)
    results, objects = read_detections(detections, truth, iou_type), truth["annotations"]
    ranges = all_area_ranges(area_ranges)
    ends = np.array(list(ranges.values()))  # [A, 2]
    # Both by category and image; detections then by falling score, and what is equal in the order of its file.
    group, score = groups(results, truth), column(results, "score")
    order = np.lexsort((-score, group))
    order = order[places(group[order]) < MAX_DETECTIONS[-1]]
    group, score, inside = group[order], score[order], ~outside(column(results, "area")[order], ends)
    found = shapes(results, order, iou_type)
    truth_group = groups(objects, truth)
    order = np.argsort(truth_group, kind="stable")
    truth_group, crowd = truth_group[order], column(objects, "iscrowd")[order].astype(bool)
    ignore = outside(column(objects, "area")[order], ends) | crowd

    wanted = shapes(objects, order, iou_type)
    overlaps = find_overlaps(found, group, wanted, truth_group, crowd, IOU_THRESHOLDS[0])
    matches = match(overlaps, group, ignore.T, crowd, IOU_THRESHOLDS)
    ids = tuple(image["id"] for image in truth["images"])
    sizes = len(truth["categories"]), len(ids)
    tables = by_category(sizes, group, score, inside, matches, truth_group, ~ignore)
    return Contributions(ids, tuple(ranges), tables)


def by_category(
    sizes: tuple[int, int],
    group: np.ndarray,
    score: np.ndarray,
    inside: np.ndarray,
    matches: Matches,
    truth_group: np.ndarray,
    truth_counts: np.ndarray,
) -> tuple[CategoryTable, ...]:
    """Return the tables of all categories.

    Args:
        sizes: numbers of categories and of images.
        group: int [D] of detections, rising, with falling score in each.
        score: [D].
        inside: bool [A, D], whether a detection lies in an area range.
        matches: of the detections that overlap an object.
        truth_group: int [G] of objects, rising.
        truth_counts: bool [A, G], whether an object counts in an area range.
    """
    categories, images = sizes
    category, image = np.divmod(group, max(images, 1))
    truth_category, truth_image = np.divmod(truth_group, max(images, 1))
    order = np.lexsort((-score, category))  # detections stay in their category; equal scores stay in order of images
    near = np.argsort(order)[matches.rows]
    chosen = np.argsort(near)
    near, rank = near[chosen], places(group)[matches.rows[chosen]]
    ignored = matches.ignored[chosen].transpose(1, 2, 0)
    positive = matches.matched[chosen].transpose(1, 2, 0) & ~ignored
    image, inside = image[order], inside[:, order]
    parts = (slices(rows, categories) for rows in (category, category[near], truth_category))
    return tuple(
        CategoryTable(
            image=image[d].astype(np.int32),
            inside=inside[:, d],
            near=(near[m] - d.start).astype(np.int32),
            rank=rank[m].astype(np.int32),
            positive=np.ascontiguousarray(positive[:, :, m]),
            ignored=np.ascontiguousarray(ignored[:, :, m]),
            truth_image=truth_image[g].astype(np.int32),
            truth_counts=truth_counts[:, g],
        )
        for d, m, g in zip(*parts, strict=True)
    )


def groups(records: list[dict], truth: dict[str, list[dict]]) -> np.ndarray:
    """Return a number for the category and image of each record, int [n], by category and then by image."""
    images = {image["id"]: row for row, image in enumerate(truth["images"])}
    first = {category["id"]: row * len(images) for row, category in enumerate(truth["categories"])}
    found = (first[record["category_id"]] + images[record["image_id"]] for record in records)
    return np.fromiter(found, np.int64, len(records))


def shapes(records: list[dict], order: np.ndarray, iou_type: str) -> Any:
    """Return the boxes [n, 4] or the list of masks of records, in an order."""
    if iou_type == "segm":
        return [records[i]["segmentation"] for i in order]
    boxes = np.fromiter(chain.from_iterable(record["bbox"] for record in records), np.float64, 4 * len(records))
    return boxes.reshape(-1, 4)[order]


def column(records: list[dict], key: str) -> np.ndarray:
    """Return one number of each record, float64 [n]."""
    return np.fromiter((record[key] for record in records), np.float64, len(records))


def outside(areas: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return bool [A, n]: areas [n] outside each closed range of `ends` [A, 2]."""
    return (areas < ends[:, :1]) | (areas > ends[:, 1:])


def slices(rows: np.ndarray, count: int) -> list[slice]:
    """Return where each of the values 0 to count - 1 stands in rising rows."""
    return [slice(*ends) for ends in pairwise(np.searchsorted(rows, np.arange(count + 1)).tolist())]
