"""Ranges that are searched: each half of the images gets those of the other, and both are written."""

from __future__ import annotations

import pytest
import tiny
import torch
from msgspec.structs import replace

from pipeline.errors import InputError
from pipeline.options import Test as TestOptions
from pipeline.prediction import range_search
from pipeline.spec import Spec

TWO = {"short_sides": (1400, 480), "long_sides": (2000, 800), "valid_ranges": ((0, 160), (160, None))}
SIZES = (20, 30)  # of the object in even and in odd images, in file pixels: 200 and 300 of COCO's under preset tiny


def searched() -> Spec:
    found = tiny.spec("snip_drfcn_r50_7ep_single_scale")
    return tiny.changed(found, experiment={"tests": {"ms": TestOptions(**TWO, search_ranges=True)}})


def detection(side: float, score: float) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor([[0.0, 0, side, side]]),
        "scores": torch.tensor([score]),
        "labels": torch.tensor([1]),
    }


def search(count: int = 6) -> tuple[list[TestOptions], dict]:
    """Search where the fine resolution finds every object, and the coarse one a false one of 25 pixels, surer of it."""
    sides = [SIZES[row % 2] for row in range(count)]
    data = tiny.FakeSet([(48, 64)] * count, [[[0, 0, side, side]] for side in sides])
    levels = [[detection(side, 0.5) for side in sides], [detection(10, 0.9) for _ in sides]]
    annotations = [
        {"id": row + 1, "image_id": row + 1, "bbox": [0, 0, side, side], "area": side * side, "category_id": 1}
        | {"iscrowd": 0}
        for row, side in enumerate(sides)
    ]
    split = {"images": data.entries, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    return range_search.searched_tests(searched(), "ms", levels, data, split)


def test_each_half_gets_the_ranges_of_the_other(empty_folder):
    tests, found = search()
    even, odd = (half["ranges"] for half in found["halves"])
    # The fine resolution's range ends at 160; even images need 200 in it, odd ones 300.
    assert (even[0][1], odd[0][1]) == (200.0, None)
    assert [[list(pair) for pair in one.valid_ranges] for one in tests] == [odd, even] * 3
    assert [half["images"] for half in found["halves"]] == [3, 3]
    for half in found["halves"]:
        assert (half["ap_start"], half["ap"]) == (0.0, pytest.approx(1.0))
    # Ranges that end at 200 lose the odd images' objects of 300.
    assert found["ap_held_out_start"] == 0
    assert 0.4 < found["ap_held_out"] < 0.6


def test_a_network_of_proposals_has_no_best_ranges(empty_folder):
    spec = tiny.changed(searched(), experiment={"detector": "d_rfcn_rpn"})
    with pytest.raises(InputError, match="only proposes; take search_ranges out of its test 'ms'"):
        range_search.searched_tests(spec, "ms", [], tiny.FakeSet([], []), {})
    with pytest.raises(ValueError, match="search_ranges needs several short_sides"):
        replace(TestOptions(), search_ranges=True).__post_init__()
