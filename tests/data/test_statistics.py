"""Scale statistics: counted by hand, on extreme inputs, and wanted as COCO's own labels have them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import paths
from pipeline.data.statistics import HISTOGRAM_EDGES, WANTED, compare, scale_statistics
from pipeline.files import read_json


def box(image: int, width: float, height: float, **more) -> dict:
    return {"image_id": image, "bbox": [0, 0, width, height], "iscrowd": 0, **more}


def image(key: int, width: int = 640, height: int = 480) -> dict:
    return {"id": key, "width": width, "height": height}


def test_counted_by_hand():
    coco = {
        "images": [image(1, 100, 100), image(2, 200, 50), image(7, 400, 400)],
        "annotations": [
            box(1, 10, 10, area=50.0),  # relative scale 0.1
            box(1, 40, 40, area=1024.0),  # 0.4, medium: 32 squared is no longer small
            box(2, 25, 4, area=90.0),  # 0.1
            box(2, 100, 100, area=9216.0),  # 1.0, large
            box(2, 1, 1, area=1.0, iscrowd=1),
        ],
    }
    statistics = scale_statistics(coco, factor=1.0)
    assert statistics["object_counts"] == {"small": 2, "medium": 1, "large": 1}
    assert [statistics[f"object_share_{name}"] for name in ("small", "medium", "large")] == [0.5, 0.25, 0.25]
    thirds = [statistics[f"image_share_{name}"] for name in ("small", "medium", "large")]
    assert thirds == pytest.approx([2 / 3, 1 / 3, 1 / 3])
    assert statistics["relative_scale_q50"] == pytest.approx(0.25)  # of 0.1, 0.1, 0.4, 1.0
    assert statistics["relative_scale_q90"] == pytest.approx(0.4 + 0.7 * 0.6)
    assert statistics["scale_range"] == pytest.approx(10)
    assert statistics["images_without_objects"] == 1
    assert statistics["left_out"] == {"crowd": 1, "unusable": 0}
    assert statistics["objects_per_image_mean"] == pytest.approx(4 / 3)
    histogram = statistics["histogram_log2_relative_scale"]
    # log2: -3.3, -3.3, -1.3, 0
    filled = {edge: count for edge, count in zip(histogram["edges"], histogram["counts"], strict=False) if count}
    assert filled == {-3.5: 2, -1.5: 1, -0.5: 1}


def test_factor_scales_the_limits():
    coco = {"images": [image(1)], "annotations": [box(1, 8, 8), box(1, 24, 24), box(1, 7.9, 8), box(1, 23.9, 24)]}
    assert scale_statistics(coco, 0.25)["object_counts"] == {"small": 1, "medium": 2, "large": 1}
    assert scale_statistics(coco, 1.0)["object_counts"] == {"small": 4, "medium": 0, "large": 0}


def test_area_decides_the_class_and_the_box_the_relative_scale():
    coco = {"images": [image(1, 100, 100)], "annotations": [box(1, 50, 50, area=900.0), box(1, 50, 50, area=None)]}
    statistics = scale_statistics(coco, 1.0)
    assert statistics["object_counts"] == {"small": 1, "medium": 1, "large": 0}
    assert statistics["relative_scale_q10"] == statistics["relative_scale_q90"] == 0.5


@pytest.mark.parametrize("coco", [{}, {"images": [], "annotations": []}, {"images": [image(1)], "annotations": []}])
def test_empty_data_give_none(coco):
    statistics = scale_statistics(coco, 0.3)
    assert statistics["object_share_small"] is None
    assert statistics["relative_scale_q50"] is None
    assert statistics["scale_range"] is None
    assert statistics["image_share_small"] == (0.0 if coco.get("images") else None)
    assert [row["within"] for row in compare(statistics)] == [False] * len(WANTED)
    json.dumps(statistics, allow_nan=False)


def test_unusable_boxes_are_counted_not_used():
    annotations = [box(1, 0, 5), box(1, -2, 5), box(1, float("nan"), 5), box(1, float("inf"), 5), box(9, 5, 5)]
    annotations += [{"image_id": 1, "bbox": []}, {"image_id": 1}, box(1, 5, 5)]
    statistics = scale_statistics({"images": [image(1)], "annotations": annotations}, 1.0)
    assert statistics["left_out"] == {"crowd": 0, "unusable": 7}
    assert statistics["objects"] == 1


def test_compare_shows_what_is_off():
    statistics = {name: wanted for name, (wanted, _) in WANTED.items()}
    assert all(row["within"] for row in compare(statistics))
    statistics["object_share_small"] = 0.38  # exactly three points
    statistics["image_share_large"] = 0.79
    rows = {row["name"]: row for row in compare(statistics)}
    assert rows["object_share_small"]["within"]
    off = {"wanted": 0.83, "tolerance": 0.03, "achieved": 0.79, "within": False}
    assert rows["image_share_large"] == off | {"name": "image_share_large"}


@given(
    st.lists(st.tuples(st.integers(1, 3), st.floats(0.1, 900), st.floats(0.1, 900)), max_size=30), st.floats(0.05, 4)
)
def test_shares_and_histogram_are_complete(boxes, factor):
    coco = {"images": [image(k) for k in (1, 2, 3)], "annotations": [box(*entry) for entry in boxes]}
    statistics = scale_statistics(coco, factor)
    assert sum(statistics["histogram_log2_relative_scale"]["counts"]) == len(boxes) == statistics["objects"]
    assert len(statistics["histogram_log2_relative_scale"]["counts"]) == len(HISTOGRAM_EDGES) - 1
    if boxes:
        assert sum(statistics[f"object_share_{name}"] for name in ("small", "medium", "large")) == pytest.approx(1)
    bigger = {"images": coco["images"], "annotations": [box(k, 2 * w, 2 * h) for k, w, h in boxes]}
    assert scale_statistics(bigger, 2 * factor)["object_counts"] == statistics["object_counts"]


def test_coco_itself_is_near_the_wanted_values():
    """By the numbers in git that `pipeline.benchmarks.annotation_statistics` measured on train2017's labels."""
    measured = read_json(paths.ROOT / "reports/benchmarks/annotation_statistics.json")["sizes"]
    masks, boxes = measured["train2017, masks"], measured["train2017, boxes"]
    shares = [f"{what}_{size}" for what in ("object", "image") for size in ("small", "medium", "large")]
    found = {name.replace("_", "_share_"): masks[name] / 100 for name in shares}
    found |= {f"relative_scale_{name}": boxes[name] for name in ("q10", "q50", "q90")}
    assert [row["name"] for row in compare(found) if not row["within"]] == []
