"""Reading instances files: what is kept, with which values, and what is cut, left out and counted."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from tiny_sets import instances, write_images, write_instances

from pipeline.data.boxes import clip_box
from pipeline.data.coco import read_instances
from pipeline.data.segmentation import check_segmentation, decode_counts, polygon_area
from pipeline.preset import Data


def read(tmp_path, content, **options):
    return read_instances(write_instances(tmp_path / "a.json", content), tmp_path, Data("coco", **options))


def test_valid_file_keeps_every_value_sorted_by_id(tmp_path):
    coco, counts, examples = read(tmp_path, instances())
    assert [image["id"] for image in coco["images"]] == [3, 7]
    assert coco["images"][0] == {"id": 3, "file_name": "sub/ä.jpg", "width": 32, "height": 24}
    assert coco["annotations"] == [
        {"id": 11, "image_id": 3, "category_id": 4, "bbox": [0.5, 1.5, 20.0, 20.0], "area": 400.0, "iscrowd": 0},
        {"id": 12, "image_id": 7, "category_id": 9, "bbox": [2.0, 3.0, 10.0, 5.0], "area": 33.5, "iscrowd": 0},
        {"id": 13, "image_id": 7, "category_id": 4, "bbox": [0.0, 0.0, 40.0, 30.0], "area": 1200.0, "iscrowd": 1},
    ]
    assert coco["categories"] == [{"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}]
    assert (counts, examples) == ({}, {})


def test_unknown_keys_are_ignored(tmp_path):
    content = instances() | {"info": None, "licenses": 5}
    content["images"][0]["flickr_url"] = ["x"]
    assert read(tmp_path, content)[0] == read(tmp_path, instances())[0]


@pytest.mark.parametrize(
    ("box", "expected", "reason"),
    [
        ([2, 3, 10, 5], [2, 3, 10, 5], None),
        ([0, 0, 40, 30], [0, 0, 40, 30], None),
        ([30.0, 0, 10.04, 30], [30, 0, 10, 30], None),  # COCO's rounding is cut, but not worth a count
        ([30.0, 0, 11, 30], [30, 0, 10, 30], "clipped"),
        ([-5, -4, 10, 10], [0, 0, 5, 6], "clipped"),
        ([-5, -5, 100, 100], [0, 0, 40, 30], "clipped"),
        ([5, 5, 0, 10], None, "degenerate_box"),
        ([5, 5, 10, -1], None, "degenerate_box"),
        ([5, 5, 10, 0.009], None, "degenerate_box"),
        ([5, 5, math.nan, 10], None, "degenerate_box"),
        ([math.nan, 5, 10, 10], None, "degenerate_box"),
        ([5, 5, math.inf, 10], None, "degenerate_box"),
        ([-math.inf, 5, 10, 10], None, "degenerate_box"),
        ([40, 0, 5, 5], None, "box_outside"),
        ([-10, 0, 10, 5], None, "box_outside"),
        ([0, 31, 5, 5], None, "box_outside"),
        ([1e308, 1e308, 1e308, 1e308], None, "box_outside"),
    ],
)
def test_clip_box(box, expected, reason):
    assert clip_box(box, 40, 30) == (expected, reason)


@given(st.lists(st.floats(-100, 100), min_size=4, max_size=4))
def test_clipped_boxes_lie_inside(box):
    clipped, reason = clip_box(box, 40, 30)
    if clipped is None:
        assert reason in ("degenerate_box", "box_outside")
    else:
        x, y, w, h = clipped
        assert min(x, y) >= 0
        assert min(w, h) >= 0.01
        assert x + w <= 40 + 1e-12
        assert y + h <= 30 + 1e-12


def test_left_out_boxes_are_counted_with_examples(tmp_path):
    content = instances()
    content["annotations"] += [{"id": 20 + i, "image_id": 7, "category_id": 4, "bbox": [1, 1, 0, 5]} for i in range(7)]
    content["annotations"] += [
        {"id": 40, "image_id": 3, "category_id": 4, "bbox": [32, 0, 5, 5]},
        {"id": 41, "image_id": 3, "category_id": 4, "bbox": [30, 20, 5, 5]},
    ]
    coco, counts, examples = read(tmp_path, content)
    assert counts == {"degenerate_box": 7, "box_outside": 1, "clipped": 1}
    assert examples["degenerate_box"][0] == "annotation 20 of 'b.png': [1, 1, 0, 5] in 40x30"
    assert len(examples["degenerate_box"]) == 5
    assert [a["id"] for a in coco["annotations"]] == [11, 12, 13, 41]
    assert coco["annotations"][-1]["bbox"] == [30, 20, 2, 4]
    assert coco["annotations"][-1]["area"] == 8


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
def test_json_numbers_that_are_not_finite_are_counted(tmp_path, number):
    text = json.dumps(instances()).replace("[2, 3, 10, 5]", f"[2, 3, {number}, 5]")
    coco, counts, _ = read(tmp_path, text)
    assert counts == {"degenerate_box": 1}
    assert [a["id"] for a in coco["annotations"]] == [11, 13]


HALF = [2, 3, 12, 3, 2, 8]  # half of the 10x5 box
NO_MASKS = [
    "text",
    5,
    HALF,
    [HALF[:4]],
    [[2, 3, 12, 3, 2, "8"]],
    [[*HALF, 1]],
    [[2, 3, 12, 3, 2, math.nan]],
    [[2, 3, 12, 3, 2, 1e9]],
    [[2, 3, 4, 3, 8, 3]],
    {"size": [30, 40]},
    {"size": [40, 30], "counts": [100, 20, 1080]},
    {"size": [30, 40], "counts": [100, 20, 1081]},
    {"size": [30, 40], "counts": [100, -20, 1120]},
    {"size": [30, 40], "counts": [1200]},
    {"size": [30, 40], "counts": "not a code \x00"},
    {"size": [30, 40], "counts": "o" * 40},
    {"size": [30, 40], "counts": ""},
]


@pytest.mark.parametrize(
    ("change", "expected", "counts"),
    [
        # An unusable area is computed and counted; that of a clipped box is at most the clipped box.
        *(({"area": area}, {"area": 50.0}, {"bad_area": 1}) for area in (0, -3, math.nan, math.inf, "12", True)),
        ({"bbox": [35, 3, 10, 5], "area": 50}, {"area": 25.0}, {"clipped": 1}),
        ({"area": ..., "segmentation": [HALF]}, {"area": 25.0, "segmentation": [HALF]}, {}),  # from the mask
        # An invalid mask is dropped and its box kept; of one with a sliver the rest is kept.
        *(({"segmentation": mask}, {"area": 33.5, "segmentation": ...}, {"bad_mask": 1}) for mask in NO_MASKS),
        *(({"segmentation": none}, {"segmentation": ...}, {}) for none in (None, [], {})),
        ({"segmentation": [[2, 3, 4, 3, 8, 3], HALF]}, {"segmentation": [HALF]}, {"bad_mask_part": 1}),
        *(({"iscrowd": given}, {"iscrowd": kept}, {}) for given, kept in ((True, 1), (False, 0), (None, 0), (1, 1))),
    ],
)
def test_values_of_an_annotation(tmp_path, change, expected, counts):
    """`...` stands for a key that is not there."""
    content = instances()
    annotation = content["annotations"][0] | change
    content["annotations"][0] = {key: value for key, value in annotation.items() if value is not ...}
    coco, found, _ = read(tmp_path, content)
    assert found == counts
    assert {key: coco["annotations"][1].get(key, ...) for key in expected} == expected


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_run_length_codes_agree_with_pycocotools(height, width, data):
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.asfortranarray(np.array(bits, dtype=np.uint8).reshape(height, width, order="F"))
    code = coco_mask.encode(mask)
    code["counts"] = code["counts"].decode()
    kept, area, dropped = check_segmentation(code, width, height)
    assert (area, dropped) == (sum(bits), 0)
    assert kept == (code if any(bits) else None)


def test_long_run_lengths_agree_with_pycocotools():
    runs = [70000, 5, 3, 100000, 1, 2, 229989]
    code = coco_mask.frPyObjects({"size": [500, 800], "counts": runs}, 500, 800)
    assert decode_counts(code["counts"].decode()) == runs


def test_polygon_area_by_hand():
    assert polygon_area([0, 0, 4, 0, 4, 3, 0, 3], 40, 30) == 12.0
    assert polygon_area([0, 0, 0, 3, 4, 3, 4, 0], 40, 30) == 12.0  # either direction


def test_missing_size_is_read_from_the_file(tmp_path):
    content = instances()
    write_images(tmp_path, content)
    del content["images"][0]["width"], content["images"][0]["height"]
    content["images"][1]["height"] = None
    coco, counts, _ = read(tmp_path, content)
    assert coco["images"] == read(tmp_path, instances())[0]["images"]
    assert counts == {"size_from_file": 2}


def test_missing_size_and_missing_file_excludes_the_image(tmp_path):
    content = instances()
    del content["images"][0]["width"]
    coco, counts, _ = read(tmp_path, content, missing_images="exclude")
    assert [image["id"] for image in coco["images"]] == [3]
    assert counts == {"missing_image": 1, "annotation_of_missing_image": 2}


@pytest.mark.parametrize(
    ("ids", "kept", "counts"),
    [
        ((..., 11, None), [(11, 20), (12, 10), (13, 40)], {}),  # absent ones continue after the highest
        ((0, 11, 13), [(1, 10), (2, 20), (3, 40)], {"renumbered": 1}),  # pycocotools reads a match with 0 as none
    ],
)
def test_annotation_ids(tmp_path, ids, kept, counts):
    content = instances()
    for annotation, own in zip(content["annotations"], ids, strict=True):
        annotation["id"] = own
    if ids[0] is ...:
        del content["annotations"][0]["id"]
    coco, found, _ = read(tmp_path, content)
    assert [(a["id"], a["bbox"][2]) for a in coco["annotations"]] == kept
    assert found == counts
