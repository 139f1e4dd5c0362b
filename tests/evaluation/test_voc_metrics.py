"""PASCAL VOC's average precision, by hand."""

import numpy as np
import pytest

from pipeline.evaluation import bootstrap_voc, evaluate_voc
from pipeline.evaluation.voc import eleven_points, envelope_area


def truth(*rows: tuple[int, int, list[float], int]) -> dict:
    """Return ground truth of two images and two classes; rows are (image, class, xywh, difficult)."""
    return {
        "images": [{"id": 1, "width": 100, "height": 100}, {"id": 2, "width": 100, "height": 100}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": image, "category_id": kind, "bbox": box, "iscrowd": hard, "area": box[2] * box[3]}
            for n, (image, kind, box, hard) in enumerate(rows)
        ],
    }


def found(image: int, kind: int, box: list[float], score: float) -> dict:
    return {"image_id": image, "category_id": kind, "bbox": box, "score": score}


def test_two_of_three_objects_with_a_false_alarm_between() -> None:
    boxes = truth((1, 1, [0, 0, 10, 10], 0), (1, 1, [50, 50, 10, 10], 0), (2, 1, [0, 0, 20, 20], 0))
    results = [
        found(1, 1, [0, 0, 10, 10], 0.9),  # right: precision 1, recall 1/3
        found(1, 1, [0, 0, 10, 9], 0.8),  # the same object again: wrong, 1/2
        found(2, 1, [0, 0, 20, 20], 0.7),  # right: 2/3, recall 2/3
        found(2, 1, [60, 60, 9, 9], 0.6),  # nothing there: 2/4
    ]
    metrics = evaluate_voc(boxes, results)
    # Recalls 0 to 0.3 see precision 1, 0.4 to 0.6 see 2/3, above nothing.
    assert metrics["ap50_cat"] == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)
    assert metrics["ap50_area_cat"] == pytest.approx(1 / 3 + 2 / 9)
    assert metrics["ap50_dog"] is None
    assert metrics["map"] == metrics["ap50_cat"]
    assert metrics["map_area"] == metrics["ap50_area_cat"]


def test_difficult_objects_neither_count_nor_punish() -> None:
    boxes = truth((1, 1, [0, 0, 10, 10], 1), (1, 1, [50, 50, 10, 10], 0))
    hard, easy = found(1, 1, [0, 0, 10, 10], 0.9), found(1, 1, [50, 50, 10, 10], 0.8)
    assert evaluate_voc(boxes, [hard, easy])["map"] == 1.0
    assert evaluate_voc(boxes, [hard, hard, easy])["map"] == 1.0  # found twice: still ignored
    # Inside a difficult object but far smaller: IoU 0.25 is no match, where a crowd's overlap would be 1.
    assert evaluate_voc(boxes, [found(1, 1, [0, 0, 5, 5], 0.9), easy])["map_area"] == pytest.approx(0.5)


def test_overlap_must_exceed_one_half() -> None:
    boxes = truth((1, 1, [0, 0, 10, 10], 0))
    assert evaluate_voc(boxes, [found(1, 1, [0, 0, 10, 5], 0.9)])["map"] == 0.0  # exactly 0.5
    assert evaluate_voc(boxes, [found(1, 1, [0, 0, 10, 5.1], 0.9)])["map"] == 1.0


def test_the_object_overlapped_most_decides_even_where_it_is_taken() -> None:
    boxes = truth((1, 1, [0, 0, 10, 10], 0), (1, 1, [3, 0, 10, 10], 0))
    results = [found(1, 1, [0, 0, 10, 10], 0.9), found(1, 1, [1, 0, 10, 10], 0.8)]
    # The second box overlaps both by more than half (9/11 and 8/12), and COCO would let it take the free one.
    assert evaluate_voc(boxes, results)["ap50_area_cat"] == pytest.approx(0.5)


def test_classes_and_images_are_apart() -> None:
    boxes = truth((1, 1, [0, 0, 10, 10], 0), (2, 2, [0, 0, 10, 10], 0))
    results = [found(2, 1, [0, 0, 10, 10], 0.9), found(2, 2, [0, 0, 10, 10], 0.9)]
    metrics = evaluate_voc(boxes, results)
    assert (metrics["ap50_cat"], metrics["ap50_dog"], metrics["map"]) == (0.0, 1.0, 0.5)


def test_no_detections_score_zero_and_no_objects_score_nothing() -> None:
    assert evaluate_voc(truth((1, 1, [0, 0, 10, 10], 0)), [])["map"] == 0.0
    assert evaluate_voc(truth(), [found(1, 1, [0, 0, 1, 1], 0.5)])["map"] is None
    assert evaluate_voc(truth((1, 1, [0, 0, 10, 10], 1)), [])["map"] is None


def test_forms_on_a_curve_by_hand() -> None:
    precision, recall = np.array([1.0, 0.5, 2 / 3, 0.5, 0.6]), np.array([0.2, 0.2, 0.4, 0.4, 0.6])
    # 0, .1, .2: 1; .3, .4: 2/3; .5, .6: .6
    assert eleven_points(precision, recall) == pytest.approx((3 + 4 / 3 + 1.2) / 11)
    assert envelope_area(precision, recall) == pytest.approx(0.2 * 1 + 0.2 * 2 / 3 + 0.2 * 0.6)


def test_replicates_are_the_scores_of_resampled_images() -> None:
    from pipeline.evaluation.bootstrap import image_counts

    boxes = truth((1, 1, [0, 0, 10, 10], 0), (2, 1, [0, 0, 20, 20], 0), (2, 1, [50, 50, 20, 20], 0))
    results = [found(1, 1, [0, 0, 10, 10], 0.9), found(2, 1, [80, 80, 9, 9], 0.8), found(2, 1, [0, 0, 20, 20], 0.7)]
    drawn = bootstrap_voc(boxes, results, draws=20, seed=1)
    expected = {
        (2, 0): 1.0,  # the first image twice: 2 of 2 found
        (1, 1): 1 / 3 + 2 / 3 / 3,  # precision 1 up to recall 1/3, 2/3 up to 2/3
        (0, 2): 0.5 * 0.5,  # wrong, then right: precision 1/2 up to recall 1/2
    }
    counts = [tuple(row) for row in image_counts(2, 20, 1).tolist()]
    assert len(set(counts)) == 3
    assert drawn["map_area"] == pytest.approx([expected[row] for row in counts])
