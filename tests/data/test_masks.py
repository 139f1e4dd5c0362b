"""Masks: run-length codes against pycocotools, data sets with and without them, what lacks one."""

from pathlib import Path

import numpy as np
import pytest
import tiny_sets
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from pipeline.data.detection_set import DetectionSet, scaled_masks
from pipeline.data.masks import check_masks, decode, encode, encode_window, scorable
from pipeline.errors import InputError

SQUARE = [2, 1, 5, 1, 5, 3, 2, 3]  # x 2-4, y 1-2
TALL = [0, 0, 1, 0, 1, 4, 0, 4]


def split(*segmentations: object, crowds: tuple[int, ...] = ()) -> dict:
    """Return a split of one 6x4 image with an object for each segmentation, None for one without."""
    annotations = []
    for number, segmentation in enumerate(segmentations):
        entry = {"id": number + 1, "image_id": 1, "category_id": number + 1, "bbox": [2, 1, 3, 2], "area": 6.0}
        entry |= {"iscrowd": int(number in crowds)} | ({} if segmentation is None else {"segmentation": segmentation})
        annotations.append(entry)
    images = [{"id": 1, "file_name": "a.png", "width": 6, "height": 4}]
    categories = [{"id": number + 1, "name": f"c{number}"} for number in range(len(segmentations))]
    return {"images_root": "photos", "images": images, "annotations": annotations, "categories": categories}


def test_polygons_and_codes_by_hand():
    square = np.zeros((4, 6), dtype=np.uint8)
    square[1:3, 2:5] = 1
    both = square.copy()
    both[:, 0] = 1
    # Down the columns: 9 zeros, then three columns of two ones with two zeros between.
    runs = {"size": [4, 6], "counts": [9, 2, 2, 2, 2, 2, 5]}
    compressed = encode(runs, 4, 6)
    as_text = {"size": [4, 6], "counts": compressed["counts"].decode()}
    for segmentation in ([SQUARE], runs, as_text):
        assert decode([encode(segmentation, 4, 6)["counts"]], 4, 6)[0].tolist() == square.tolist()
    assert decode([encode([SQUARE, TALL], 4, 6)["counts"]], 4, 6)[0].tolist() == both.tolist()  # parts are joined
    assert decode([], 4, 6).shape == (0, 4, 6)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_codes_of_windows_equal_pycocotools(data):
    height, width = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))
    top, left = data.draw(st.integers(0, height)), data.draw(st.integers(0, width))
    shape = data.draw(st.integers(0, height - top)), data.draw(st.integers(0, width - left))
    bits = data.draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    window = np.array(bits, dtype=bool).reshape(shape)
    whole = np.zeros((height, width), dtype=np.uint8, order="F")
    whole[top : top + shape[0], left : left + shape[1]] = window
    expected = coco_mask.encode(whole)
    found = encode_window(window, top, left, (height, width))
    assert found == {"size": [height, width], "counts": expected["counts"].decode()}


def test_data_set_gives_masks_of_its_objects():
    data = DetectionSet(split([SQUARE], [TALL], [TALL, SQUARE], crowds=(1,)), masks=True)
    assert data.has_masks
    assert data.labels[0].tolist() == [1, 3]  # the crowd is no object
    found = data.masks(0)
    assert found.dtype == torch.uint8
    assert found.sum(dim=(1, 2)).tolist() == [6, 10]
    assert found[0, 1:3, 2:5].all()
    assert torch.equal(found, data.masks(0))


def test_images_without_objects_have_no_masks():
    data = DetectionSet(split([SQUARE], crowds=(0,)), masks=True)
    assert data.masks(0).shape == (0, 4, 6)
    assert scaled_masks(data, 0, (8, 12))["masks"].shape == (0, 8, 12)


def test_data_sets_for_boxes_read_no_mask():
    data = DetectionSet(split([SQUARE], None))
    assert not data.has_masks
    assert data.labels[0].tolist() == [1, 2]
    assert scaled_masks(data, 0, (8, 12)) == {}


def test_masks_as_the_network_sees_them():
    data = DetectionSet(split([SQUARE]), masks=True)
    whole = scaled_masks(data, 0, (8, 12))["masks"]
    assert whole.sum() == 24
    assert whole[0, 2:6, 4:10].all()
    assert torch.equal(scaled_masks(data, 0, (8, 12), flipped=True)["masks"], whole.flip(-1))
    window = scaled_masks(data, 0, (8, 12), (3, 1, 9, 6), flipped=True)["masks"]
    assert torch.equal(window, whole[:, 1:6, 3:9].flip(-1))


def test_objects_without_mask_are_refused_with_the_first_of_them():
    with pytest.raises(InputError) as caught:
        DetectionSet(split([SQUARE], None, None), masks=True)
    assert str(caught.value) == (
        "A detector of masks needs the `segmentation` of every object, but 2 of the 3 objects in photos have no usable "
        "one, first annotation 2 of image a.png; add them to the annotation file and run verify again, or take a "
        "detector without masks."
    )


def test_few_objects_without_mask_are_left_out():
    content = split(*[[SQUARE]] * 99, None)
    check_masks(split([SQUARE], None, crowds=(1,)))  # crowds need none
    data = DetectionSet(content, masks=True)
    assert len(data.boxes[0]) == len(data.labels[0]) == len(data.masks(0)) == 99
    with pytest.raises(InputError, match="2 of the 101 objects"):
        check_masks(split(*[[SQUARE]] * 99, None, None))


def test_scoring_ignores_the_box_of_what_has_no_mask():
    content = split(*[[SQUARE]] * 99, None)
    found = scorable(content)
    assert found["annotations"][:99] == content["annotations"][:99]
    last = found["annotations"][-1]
    assert (last["iscrowd"], last["segmentation"]) == (1, [[2, 1, 5, 1, 5, 3, 2, 3]])
    assert "segmentation" not in content["annotations"][-1]  # the source is left alone
    with pytest.raises(InputError, match="1 of the 1 objects"):
        scorable(split(None))


def test_verified_polygons_become_masks(tmp_path: Path):
    content = tiny_sets.instances()
    content["annotations"][0]["segmentation"] = [[2, 3, 12, 3, 12, 8, 2, 8]]
    content["annotations"][1]["segmentation"] = {"size": [24, 32], "counts": [0, 24 * 32]}
    tiny_sets.write_images(tmp_path / "images", content)
    tiny_sets.verify_one(tmp_path, content)
    data = DetectionSet(tiny_sets.normalised(tmp_path), masks=True)
    by_id = {entry["id"]: data.masks(row) for row, entry in enumerate(data.entries)}
    assert by_id[3].shape == (1, 24, 32)
    assert by_id[3].all()
    assert by_id[7].sum() == 50
    assert by_id[7][0, 3:8, 2:12].all()
