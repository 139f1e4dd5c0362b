"""Valid ranges of SNIP in every family: matching by hand, and an object out of range that trains nothing."""

from __future__ import annotations

import math

import batches
import pytest
import tiny
import torch
from batches import DENSE, ROI_FAMILIES
from torch import Tensor, nn

from pipeline.models.detectors.fcos import FCOSHead
from pipeline.models.heads.anchors import BACKGROUND, IGNORED
from pipeline.models.heads.valid_ranges import assign_points_in_range, match_anchors_in_range
from pipeline.training.snip import wire_snip

FAMILIES = [family for family in (*ROI_FAMILIES, *DENSE) if family != "c4"]
OPEN = (0.0, math.inf)


def target(boxes: list[list[float]], valid: list[bool] | None = None, head_range: tuple = OPEN) -> dict[str, Tensor]:
    """Return a target whose objects are of class 1 and fill their boxes; without `valid` it holds no ranges."""
    plain = batches.target(*boxes, size=(64, 96))
    if valid is None:
        return plain
    flags = torch.tensor(valid, dtype=torch.bool)
    return plain | {"valid_head": flags, "valid_proposal": flags, "head_range": torch.tensor(head_range)}


ANCHORS = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [5, 0, 15, 10], [50, 50, 60, 60]])
OBJECTS = [[0.0, 0, 10, 10], [50.0, 50, 60, 60]]  # IoU with the anchors: 1, 8/12, 5/15, 0, and the second only the last


ON_ONE = ANCHORS[:1]  # IoU 1 with the first of these, 8/12 with the second
TWO = [[0.0, 0, 10, 10], [2.0, 0, 12, 10]]


@pytest.mark.parametrize(
    ("anchors", "objects", "valid", "ignore_iou", "expected"),
    [
        (ANCHORS, OBJECTS, None, None, [0, 0, BACKGROUND, 1]),
        # Ranges in the target count only where they are switched on; all in range is plain matching.
        (ANCHORS, OBJECTS, [False, False], None, [0, 0, BACKGROUND, 1]),
        (ANCHORS, OBJECTS, [True, True], 0.3, [0, 0, BACKGROUND, 1]),
        # 5/15 is below the 0.4 of background, and above the 0.3 from which an object out of range is avoided.
        (ANCHORS, OBJECTS, [False, True], 0.3, [IGNORED, IGNORED, IGNORED, 1]),
        (ANCHORS, OBJECTS, [False, True], 0.35, [IGNORED, IGNORED, BACKGROUND, 1]),
        (ANCHORS, OBJECTS[::-1], [False, True], 0.3, [1, 1, BACKGROUND, IGNORED]),  # numbers are those of all objects
        # Positives on an object out of range are ignored too: the RPN's order of rules.
        (ON_ONE, TWO, [True, False], 0.3, [IGNORED]),
        (ON_ONE, TWO, [True, False], 0.7, [0]),
    ],
)
def test_matching_by_hand(anchors, objects, valid, ignore_iou, expected):
    assert match_anchors_in_range(anchors, target(objects, valid), ignore_iou).tolist() == expected


@pytest.mark.parametrize("valid", [True, False])
def test_an_object_without_area_hides_no_other(valid):
    """Its IoU with a box without area is 0/0."""
    boxes = torch.cat([ANCHORS[:1], torch.tensor([[3.0, 3, 3, 3]])])
    objects = [[3.0, 3, 3, 3], [0.0, 0, 10, 10]]
    assert match_anchors_in_range(boxes, target(objects, [valid, False]), 0.3).tolist() == [IGNORED, BACKGROUND]


def test_no_objects():
    for flags in (None, []):
        found = match_anchors_in_range(ANCHORS, target([], flags), None if flags is None else 0.3)
        assert found.tolist() == [BACKGROUND] * 4
        points = assign_points_in_range(lambda boxes: torch.full((3,), -1), target([], flags), 0.3 if flags else None)
        assert points.tolist() == [BACKGROUND] * 3


def test_points_of_an_object_out_of_range_are_ignored():
    found = assign_points_in_range(lambda boxes: torch.tensor([1, -1, 0, 1]), target(OBJECTS, [True, False]), 0.3)
    assert found.tolist() == [IGNORED, BACKGROUND, 0, IGNORED]
    plain = assign_points_in_range(lambda boxes: torch.tensor([1, -1, 0, 1]), target(OBJECTS, [True, False]), None)
    assert plain.tolist() == [1, BACKGROUND, 0, 1]


def test_ranges_that_count_must_be_there():
    with pytest.raises(ValueError, match=r"need target\['valid_head'\].*found \['boxes', 'labels', 'masks'\]"):
        match_anchors_in_range(ANCHORS, target(OBJECTS), 0.3)


def test_a_small_object_on_a_large_one_keeps_its_points():
    """FCOS, points (4, 4), (12, 4), (4, 12), (12, 12): the large object holds all, the small one the first."""
    torch.manual_seed(0)
    head = FCOSHead(16, 2, tiny.PRESET.model, 1.0)
    head.ignore_iou = 0.3
    sides = (2, 1, 1, 1, 1)
    outputs = {
        name: [torch.full((1, channels, side, side), value) for side in sides]
        for name, channels, value in (("logits", 2, 0.0), ("centerness", 1, 0.0), ("distances", 4, 1.0))
    }
    pictures = batches.image_list()
    both = [[0.0, 0, 16, 16], [1.0, 1, 8, 8]]
    losses = head.losses(outputs, pictures, [target(both, [False, True])])
    assert head.positives.areas.tolist() == [49.0]
    # A sigmoid of a half costs 0.25 ln 2 times 0.25 as an object and 0.75 as background. Three positions of P3 are
    # ignored; P4 to P7 start at 8, 16, 32 and 64, where no object suits their level.
    one = 0.25 * math.log(2)
    assert losses["loss_classifier"].item() == pytest.approx((0.25 + 0.75) * one + 4 * 2 * 0.75 * one)
    head.losses(outputs, pictures, [target(both, [True, False])])
    assert head.positives.areas.tolist() == [256.0] * 3


def losses_and_areas(family: str, one: dict[str, Tensor], wired: bool = True) -> tuple[dict[str, float], set[float]]:
    """Return the losses of a fresh detector on one image and the areas of its positives' objects."""
    model = batches.model(family).train()
    if family in DENSE:  # a sigmoid of a half: background costs as much as an object
        nn.init.zeros_(model.head.logits.bias)
    if wired:
        wire_snip(model, 0.3)
    torch.manual_seed(1)
    image = torch.rand(3, 64, 96)
    torch.manual_seed(2)
    losses = model([image], [one])
    sum(losses.values()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    return {name: loss.item() for name, loss in losses.items()}, set(model.positives.areas.tolist())


FIRST = [2.0, 2, 32, 22]  # of area 600
SECOND = {"fcos": [36.0, 34, 64, 60], "retinanet": [52.0, 22, 76, 42]}  # where a level has points or anchors for it


def pair(family: str) -> list[list[float]]:
    """Return two objects of which every position that this family matches has one to itself."""
    return [FIRST, SECOND.get(family, [40.0, 8, 80, 60])]


def area(box: list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_an_object_out_of_range_has_no_positive(family):
    first, second = map(area, pair(family))
    assert losses_and_areas(family, target(pair(family), [True, True]))[1] == {first, second}
    assert losses_and_areas(family, target(pair(family), [True, False]))[1] == {first}
    assert losses_and_areas(family, target(pair(family), [False, True]))[1] == {second}


@pytest.mark.parametrize("family", FAMILIES)
def test_images_whose_objects_are_all_out_of_range_train(family):
    losses, areas = losses_and_areas(family, target(pair(family), [False, False]))
    assert areas == set()
    assert all(math.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("family", DENSE)
def test_an_object_out_of_range_is_no_background_either(family):
    """The classification loss, over the same positives, loses what the ignored positions cost as background."""
    ignored, _ = losses_and_areas(family, target(pair(family), [True, False]))
    background, _ = losses_and_areas(family, target(pair(family)[:1], [True]))
    assert ignored["loss_box_reg"] == pytest.approx(background["loss_box_reg"], rel=1e-5)
    if family == "reppoints":  # points start at a spot: no first box overlaps the object
        assert ignored["loss_classifier"] == pytest.approx(background["loss_classifier"], rel=1e-5)
    else:
        assert ignored["loss_classifier"] < background["loss_classifier"] * 0.999


@pytest.mark.parametrize("family", DENSE)
def test_ranges_that_hold_everything_change_nothing(family):
    assert losses_and_areas(family, target(pair(family), [True, True])) == losses_and_areas(
        family, target(pair(family)), False
    )


# Small objects' loss


@pytest.mark.parametrize("family", DENSE)
def test_dense_heads_amplify_small_objects_regression_loss_alone(family):
    """At the tiny preset objects below 3.2^2 pixels are small; here the limit is set between the two objects."""
    found, between = {}, sum(map(area, pair(family))) / 2
    for reweight in (False, True):
        model = batches.model(family, small_loss_reweight=reweight).train()
        assert model.head.small_below == (pytest.approx(3.2**2) if reweight else None)
        model.head.small_below = between if reweight else None
        torch.manual_seed(1)
        losses = model([torch.rand(3, 64, 96)], [target(pair(family))])
        positives, small = model.positives, model.positives.areas < between
        found[reweight] = (losses, (positives.regression[small].sum() / positives.regression.sum()).item())
    (plain, share), (amplified, same_share) = found[False], found[True]
    assert share == same_share
    assert 0 < share < 1
    wanted = max(1, 2 * (1 - share)) * plain["loss_box_reg"].item()
    assert amplified["loss_box_reg"].item() == pytest.approx(wanted, rel=1e-4)
    assert torch.equal(amplified["loss_classifier"], plain["loss_classifier"])
