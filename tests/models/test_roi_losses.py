"""RoI losses, sampling openings and decoding, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from batches import roi_options
from torch import Tensor

from pipeline.models.heads.roi_heads import RoIHeads, box_area
from pipeline.models.heads.suppression import PADDING

LN2, LN4, LN5_4 = math.log(2), math.log(4), math.log(1.25)
LOGITS = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.1, 0.1, 0.8]]).log()
LABELS = torch.tensor([0, 1, 2])
TARGETS = torch.tensor([[77.0] * 4, [0.0] * 4, [0.0] * 4])
AREAS = torch.tensor([5.0, 1023.0, 1024.0])  # of backgrounds, small, just not small


def roi_heads(logits: Tensor | None = None, deltas: Tensor | None = None) -> RoIHeads:
    """Return heads whose network gives these logits and deltas whatever it sees."""
    network = {
        "box_roi_pool": lambda features, proposals, shapes: torch.zeros(sum(map(len, proposals)), 1),
        "box_head": lambda x: x,
        "box_predictor": lambda x: (logits, deltas),
    }
    return RoIHeads(**roi_options(**network))


def deltas() -> Tensor:
    """Return [3, 2, 4]: RoI 1 errs for class 1, RoI 2 for class 2, every other entry is far off and must not count."""
    values = torch.full((3, 2, 4), 99.0)
    values[1, 0] = torch.tensor([1.0, 0.0, -2.0, 0.5])
    values[2, 1] = torch.tensor([0.0, 0.0, 0.0, 0.25])
    return values.requires_grad_()


@pytest.mark.parametrize(
    ("box_loss", "first", "second"),
    [("l1", 3.5, 0.25), ("smooth_l1", 0.5 + 1.5 + 0.125, 0.03125)],
)
def test_three_rois_by_hand(box_loss, first, second):
    heads = roi_heads()
    heads.box_loss = box_loss
    losses = heads.losses(LOGITS, deltas(), LABELS, TARGETS, AREAS)
    assert losses["loss_classifier"].item() == pytest.approx((LN2 + LN4 + LN5_4) / 3)
    assert losses["loss_box_reg"].item() == pytest.approx((first + second) / 3)
    assert heads.positives.regression.tolist() == pytest.approx([first, second])
    assert heads.positives.classification.tolist() == pytest.approx([LN4, LN5_4])
    assert heads.positives.areas.tolist() == [1023.0, 1024.0]


@pytest.mark.parametrize("small_below", [None, 1000.0, 1024.0, 1024.5])  # no small one; 3.5 of 3.75; all of it
def test_small_objects_that_carry_half_of_the_loss_or_none_of_it_change_nothing(small_below):
    heads = roi_heads()
    heads.small_below = small_below
    losses = heads.losses(LOGITS, deltas(), LABELS, TARGETS, AREAS)
    assert losses["loss_box_reg"].item() == pytest.approx(3.75 / 3)


def test_the_regression_loss_of_small_objects_is_amplified_to_equal_the_others_and_nothing_else_is():
    heads = roi_heads()
    heads.small_below = 1024.0
    areas, values = torch.tensor([5.0, 5000.0, 1023.0]), deltas()  # 0.25 of 3.75 is small: 14 times as much
    losses = heads.losses(LOGITS, values, LABELS, TARGETS, areas)
    assert losses["loss_box_reg"].item() == pytest.approx((3.5 + 14 * 0.25) / 3)
    assert losses["loss_classifier"].item() == pytest.approx((LN2 + LN4 + LN5_4) / 3)
    assert heads.positives.regression.tolist() == pytest.approx([3.5, 0.25])  # the record is of what was found
    losses["loss_box_reg"].backward()
    assert values.grad[1, 0].tolist() == pytest.approx([1 / 3, 0, -1 / 3, 1 / 3])
    assert values.grad[2, 1, 3].item() == pytest.approx(14 / 3)


def test_gradients_reach_the_right_deltas_only():
    values = deltas()
    heads = roi_heads()
    heads.losses(LOGITS, values, LABELS, TARGETS, AREAS)["loss_box_reg"].backward()
    expected = torch.zeros(3, 2, 4)
    expected[1, 0] = torch.tensor([1.0, 0.0, -1.0, 1.0]) / 3
    expected[2, 1, 3] = 1 / 3
    torch.testing.assert_close(values.grad, expected)
    assert not any(part.requires_grad for part in heads.positives)


def test_background_alone():
    heads = roi_heads()
    values = deltas()
    losses = heads.losses(LOGITS, values, torch.zeros(3, dtype=torch.int64), TARGETS, AREAS)
    assert losses["loss_box_reg"].item() == 0
    assert losses["loss_classifier"].item() == pytest.approx((LN2 + LN4 + math.log(10)) / 3)
    assert [len(part) for part in heads.positives[:3]] == [0, 0, 0]
    losses["loss_box_reg"].backward()
    assert values.grad.abs().sum() == 0


def test_no_roi_at_all():
    losses = roi_heads().losses(
        torch.zeros(0, 3), torch.zeros(0, 2, 4), torch.zeros(0).long(), torch.zeros(0, 4), torch.zeros(0)
    )
    assert {name: value.item() for name, value in losses.items()} == {"loss_classifier": 0.0, "loss_box_reg": 0.0}


def test_filtered_rois_are_neither_objects_nor_background():
    heads = roi_heads()
    proposals = [torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60], [20, 20, 40, 40]])]
    boxes, labels = [torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40]])], [torch.tensor([2, 1])]
    assert heads.assign_targets_to_proposals(proposals, boxes, labels)[1][0].tolist() == [2, 0, 1]
    seen = {}

    def leave_out_small(rois: Tensor, labels: Tensor, matched: Tensor, target: dict) -> Tensor:
        seen.update(labels=labels.tolist(), matched=matched.tolist(), target=target)
        return box_area(rois) > 100

    heads.filter_rois = leave_out_small
    heads._targets = [{"name": "first"}]
    _, found = heads.assign_targets_to_proposals(proposals, boxes, labels)
    assert found[0].tolist() == [-1, -1, 1]
    assert seen == {"labels": [2, 0, 1], "matched": [0, 0, 1], "target": {"name": "first"}}
    ((sampled, positive),) = heads.subsample(found)
    assert sampled.tolist() == [2]  # -1 is never sampled
    assert positive.tolist() == [0]


def test_padding_is_never_sampled():
    proposals = [torch.tensor([[0.0, 0, 10, 10], [PADDING] * 4, [50, 50, 60, 60], [PADDING] * 4])]
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    sampled = roi_heads().sample(proposals, [{"boxes": boxes, "labels": torch.tensor([2])}])
    assert sampled.boxes[0].tolist() == [[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 10]]
    assert sampled.labels[0].tolist() == [2, 0, 2]
    assert sampled.positive[0].tolist() == [0, 2]


def test_detection_decodes_the_deltas_of_the_scored_class():
    # Proposal: centre (20, 30), 20 wide, 40 high. Weights 10, 10, 5, 5: dx = 1 moves by a tenth of the width.
    proposal = torch.tensor([[10.0, 10, 30, 50]])
    values = torch.zeros(1, 2, 4)
    values[0, 0] = torch.tensor([1.0, -1.0, 5 * LN2, 0.0])  # centre (22, 26), 40 x 40
    logits = torch.tensor([[0.3, 0.6, 0.1]]).log()
    (found,) = roi_heads(logits, values).detect({}, [proposal], [(40, 41)])
    torch.testing.assert_close(found["scores"], torch.tensor([0.6, 0.1]))
    assert found["labels"].tolist() == [1, 2]
    torch.testing.assert_close(found["boxes"], torch.tensor([[2.0, 6, 41, 40], [10, 10, 30, 40]]))  # clipped


def test_detection_suppresses_within_a_class_and_cuts():
    proposals = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [40, 40, 50, 50], [60, 60, 70, 70]])
    foreground = torch.tensor([[0.5, 0.04], [0.4, 0.3], [0.45, 0.0501], [0.2, 0.049], [0.1, 0.04]])
    logits = torch.cat([1 - foreground.sum(1, keepdim=True), foreground], dim=1).log()
    (found,) = roi_heads(logits, torch.zeros(5, 2, 4)).detect({}, [proposals], [(100, 100)])
    # Class 1: the second box falls to the first (IoU 0.9). Class 2 keeps it. The cut is three in all.
    torch.testing.assert_close(found["scores"], torch.tensor([0.5, 0.45, 0.3]))
    assert found["labels"].tolist() == [1, 1, 2]
    torch.testing.assert_close(found["boxes"], proposals[[0, 2, 1]])
