"""Boxes that look like slips: of a pixel, and five times their class's median side; large spreads are none."""

import pytest

from pipeline.data.odd_boxes import odd_boxes, odd_section


def split(sides: list[float], category: int = 1) -> dict:
    boxes = [{"image_id": 1, "category_id": category, "iscrowd": 0, "bbox": [0.0, 5.0, s, s]} for s in sides]
    names = [{"id": 1, "name": "red | cell"}, {"id": 2, "name": "white"}]
    return {"images": [{"id": 1, "file_name": "a.png"}], "categories": names, "annotations": boxes}


def test_a_box_five_times_the_median_is_remarked_on():
    (found,) = odd_boxes(split([20.0] * 30 + [100.0]))
    what = "'red | cell': boxes of 5 times their class's median side (20 px) or more"
    assert found == (what, 1, ["a.png: 0, 5, 100, 100"])
    page = odd_section({"train": split([20.0] * 30 + [100.0]), "val": split([20.0])})
    assert "| train | 'red &#124; cell'" in page
    assert "| val |" not in page


@pytest.mark.parametrize(
    "sides",
    [[], [20.0] * 30 + [99.0], [20.0] * 5 + [100.0], [20.0] * 30 + [150.0] * 4, [2.0] * 3],
    ids=["none", "below", "few", "spread", "small"],
)
def test_what_is_not_odd(sides):
    assert list(odd_boxes(split(sides))) == []
    assert odd_section({"train": split(sides)}) == ""


def test_boxes_of_a_pixel_are_counted_with_three_examples():
    (found,) = odd_boxes(split([1.0, 0.5, 20.0, 1.0, 1.0]))
    assert found[:2] == ("boxes of a pixel in width or height", 4)
    assert len(found[2]) == 3
    crowd = split([1.0])
    crowd["annotations"][0]["iscrowd"] = 1
    assert list(odd_boxes(crowd)) == []
