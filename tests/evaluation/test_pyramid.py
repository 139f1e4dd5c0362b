"""Merging of pyramids: SNIPER's aggregate, closed ranges, ties at the cut, empty input."""

import math

import pytest
import torch
from official_numbers import load_case

from pipeline.evaluation import merge_pyramid
from pipeline.evaluation.pyramid import _of_valid_size


def found(boxes, scores, labels=None):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor(scores, dtype=torch.float32),
        "labels": torch.tensor(labels if labels is not None else [1] * len(scores), dtype=torch.int64),
    }


def square(side, x=0.0):
    return [x, 0.0, x + side, side]


@pytest.mark.parametrize("image", [0, 1])
@pytest.mark.parametrize("case", ["agg_01", "agg_03"])
def test_official_cases(case, image):
    arrays, config = load_case(f"sniper/aggregate/{case}")
    detections = []
    for scale in range(config["n_scales"]):
        classes = range(1, config["n_classes_incl_bg"])
        rows = [torch.from_numpy(arrays[f"in_s{scale}_c{c}_im{image}"]) for c in classes]
        labels = torch.cat([torch.full((len(r),), c) for c, r in zip(classes, rows, strict=True)])
        rows = torch.cat(rows)
        low, high = (None if end == -1 else end for end in config["valid_ranges"][scale])
        # SNIPER counts inclusive pixels in the IoU but not in the size: filter as they are, merge as half-open boxes
        valid = _of_valid_size({"boxes": rows[:, :4], "scores": rows[:, 4], "labels": labels}, low, high)
        assert 0 < len(valid["scores"]) < len(rows)
        detections.append(valid | {"boxes": valid["boxes"] + torch.tensor([0.0, 0, 1, 1])})
    ranges = [(None, None)] * config["n_scales"]
    limit = None if config["max_per_image"] == -1 else config["max_per_image"]
    merged = merge_pyramid(detections, ranges, max_detections=limit)
    for c in range(1, config["n_classes_incl_bg"]):
        expected = torch.from_numpy(arrays[f"out_c{c}_im{image}"])
        ours = merged["labels"] == c
        torch.testing.assert_close(merged["boxes"][ours] - torch.tensor([0.0, 0, 1, 1]), expected[:, :4])
        torch.testing.assert_close(merged["scores"][ours], expected[:, 4], rtol=1e-5, atol=1e-6)
    assert (merged["scores"][1:] <= merged["scores"][:-1]).all()


def test_ranges_are_closed_on_the_root_of_the_area():
    sides = [39.0, 40.0, 100.0, 160.0, 161.0]
    boxes = [square(side, 1000.0 * i) for i, side in enumerate(sides)]
    boxes.append([9000.0, 0, 9020, 80])  # 20 x 80: sqrt is exactly 40
    merged = merge_pyramid([found(boxes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])], [(40, 160)])
    assert merged["scores"].tolist() == pytest.approx([0.8, 0.7, 0.6, 0.4])
    assert len(merge_pyramid([found(boxes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])], [(40, None)])["scores"]) == 5
    assert len(merge_pyramid([found(boxes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])], [(None, math.inf)])["scores"]) == 6


def test_each_resolution_has_its_own_range_and_classes_do_not_meet():
    fine = found([square(20), square(20), square(200)], [0.9, 0.8, 0.99], [1, 2, 1])
    coarse = found([square(200), square(20)], [0.7, 0.95], [1, 1])
    merged = merge_pyramid([fine, coarse], [(0, 80), (120, None)])
    # 200 and 20 overlap in class 1: IoU 400/40000
    assert merged["labels"].tolist() == [1, 2, 1]
    assert merged["scores"].tolist() == pytest.approx([0.9, 0.8, 0.7 * math.exp(-(0.01**2) / 0.55)])
    assert merged["boxes"].tolist() == [square(20), square(20), square(200)]


def test_two_resolutions_that_agree_leave_one_sure_box():
    twice = [found([square(50)], [0.9]), found([square(50)], [0.8])]
    merged = merge_pyramid(twice, [(0, None)] * 2)
    assert merged["scores"].tolist() == pytest.approx([0.9, 0.8 * math.exp(-1 / 0.55)])
    hard = merge_pyramid(twice, [(0, None)] * 2, method="hard", iou_threshold=0.5)
    assert hard["scores"].tolist() == pytest.approx([0.9])
    linear = merge_pyramid(twice, [(0, None)] * 2, method="linear")
    assert linear["scores"].tolist() == pytest.approx([0.9])  # 0.8 * 0 falls below the threshold


def test_the_cut_keeps_ties_with_the_last():
    boxes = [square(10, 20.0 * i) for i in range(6)]
    merged = merge_pyramid([found(boxes, [0.9, 0.5, 0.8, 0.5, 0.5, 0.1])], [(0, None)], max_detections=3)
    assert merged["scores"].tolist() == pytest.approx([0.9, 0.8, 0.5, 0.5, 0.5])
    assert len(merge_pyramid([found(boxes, [0.5] * 6)], [(0, None)], max_detections=None)["scores"]) == 6
    assert len(merge_pyramid([found(boxes, [0.5] * 6)], [(0, None)], max_detections=0)["scores"]) == 0


@pytest.mark.parametrize("side", [None, 20.0])
def test_nothing_valid_gives_empty_tensors(side):
    only = found([], []) if side is None else found([square(side)], [0.9])
    merged = merge_pyramid([only, found([], [])], [(40, 80), (0, None)])
    assert [tuple(merged[key].shape) for key in ("boxes", "scores", "labels")] == [(0, 4), (0,), (0,)]
    assert merged["labels"].dtype == torch.int64


def test_wrong_use():
    with pytest.raises(ValueError, match="Each resolution needs one range, got 1 and 2"):
        merge_pyramid([found([], [])], [(0, None), (0, None)])
    with pytest.raises(ValueError, match="None for an open end"):
        merge_pyramid([found([], [])], [(120, -1)])


@pytest.mark.parametrize("method", ["gaussian", "linear", "hard"])
@pytest.mark.parametrize("limit", [1, 7, 40, 400])
def test_stopping_early_changes_nothing(method, limit):
    """Suppression ends where no further pick can be among the kept: all of it and then the cut give the same."""
    generator = torch.Generator().manual_seed(limit)
    corners = torch.rand(300, 2, generator=generator) * 60
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(300, 2, generator=generator)], dim=1)
    scores = (torch.rand(300, generator=generator) ** 3 * 20).round() / 20  # many ties
    crowd = {"boxes": boxes, "scores": scores, "labels": torch.randint(1, 4, (300,), generator=generator)}
    whole = merge_pyramid([crowd], [(10, 20)], max_detections=None, method=method)
    merged = merge_pyramid([crowd], [(10, 20)], max_detections=limit, method=method)
    last = whole["scores"][min(limit, len(whole["scores"])) - 1]
    kept = whole["scores"] >= last
    for name, value in whole.items():
        assert torch.equal(merged[name], value[kept])
