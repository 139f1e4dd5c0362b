"""Cascade R-CNN: a training step and a detection worked out by hand, and its counts."""

import math

import pytest
import tiny
import torch
import torch.nn.functional as F
from batches import full, roi_options, spec
from torch import Tensor

from pipeline.models import build_detector
from pipeline.models.detectors.cascade_rcnn import LOSS_WEIGHTS, CascadeRoIHeads, not_objects, refine
from pipeline.models.heads.roi_heads import RoIHeads, SampledRoIs
from pipeline.models.measure import measure

OBJECT = torch.tensor([[0.0, 0, 20, 20]])
PROPOSAL = torch.tensor([[0.0, 0, 20, 13]])  # IoU 0.65 with the object: positive in the first two stages
SHIFT, LENGTHEN = 3.5 / 13, math.log(20 / 13)  # what makes the object of the proposal, in units of its height
TARGETS = [{"boxes": OBJECT, "labels": torch.tensor([2])}]


class Scripted:
    """Answers a stage's call with given logits and deltas, and remembers the RoIs."""

    def __init__(self, logits: Tensor, deltas: Tensor) -> None:
        self.answer, self.seen = (logits, deltas), []

    def pool(self, features: dict, boxes: list[Tensor], shapes: list) -> Tensor:
        self.seen.append([rows.tolist() for rows in boxes])
        return torch.zeros(sum(map(len, boxes)), 1)

    def stage(self, number: int) -> RoIHeads:
        """Return stage `number` of a cascade around the script."""
        threshold, weights = 0.5 + 0.1 * number, tuple((1 + number) * weight for weight in (10.0, 10.0, 5.0, 5.0))
        options = roi_options(fg_iou_thresh=threshold, bg_iou_thresh=threshold, bbox_reg_weights=weights)
        network = {"box_roi_pool": self.pool, "box_head": lambda x: x, "box_predictor": lambda x: self.answer}
        stage = RoIHeads(**options | network)
        stage.box_loss = "smooth_l1"
        return stage


def scripts(deltas: list[Tensor]) -> tuple[CascadeRoIHeads, list[Scripted]]:
    """Return a cascade that answers with these deltas [R, 4] a stage, and logits that differ between stages."""
    generator = torch.Generator().manual_seed(0)
    found = [Scripted(torch.randn(len(rows), 3, generator=generator), rows[:, None]) for rows in deltas]
    return CascadeRoIHeads([script.stage(number) for number, script in enumerate(found)]), found


def smooth_l1(*errors: float) -> float:
    return sum(0.5 * error**2 if abs(error) < 1 else abs(error) - 0.5 for error in errors)


def test_three_stages_by_hand():
    zeros = torch.zeros(2, 4)
    exact = zeros.clone()
    exact[0] = torch.tensor([0, 20 * SHIFT, 0, 10 * LENGTHEN])
    deltas = [zeros.clone().requires_grad_(), exact.requires_grad_(), zeros.clone().requires_grad_()]
    heads, found = scripts(deltas)
    _, losses = heads.train()({}, [PROPOSAL], [(40, 40)], TARGETS)
    # Objects' own boxes come last, once in every stage. The second stage makes the object of the proposal.
    assert found[0].seen == [[PROPOSAL.tolist() + OBJECT.tolist()]]
    assert found[1].seen == [[PROPOSAL.tolist() + OBJECT.tolist()]]
    ((refined,),) = found[2].seen
    torch.testing.assert_close(torch.tensor(refined), torch.cat([OBJECT, OBJECT]))
    for number, (script, weight) in enumerate(zip(found, (1, 0.5, 0.25), strict=True)):
        wanted = F.cross_entropy(script.answer[0], torch.tensor([2, 2])).item()
        assert losses[f"loss_classifier_{number}"].item() == pytest.approx(weight * wanted)
    assert losses["loss_box_reg_0"].item() == pytest.approx(smooth_l1(10 * SHIFT, 5 * LENGTHEN) / 2)
    assert losses["loss_box_reg_1"].item() == pytest.approx(0, abs=1e-5)
    assert losses["loss_box_reg_2"].item() == pytest.approx(0, abs=1e-5)
    assert heads.positives.regression.tolist() == pytest.approx([smooth_l1(10 * SHIFT, 5 * LENGTHEN), 0])
    assert heads.positives.areas.tolist() == [400.0, 400.0]


def test_the_last_stage_wants_a_better_box():
    heads, found = scripts([torch.zeros(2, 4)] * 3)
    _, losses = heads.train()({}, [PROPOSAL], [(40, 40)], TARGETS)
    assert [len(stage.positives.areas) for stage in heads.stages] == [2, 2, 1]
    assert losses["loss_box_reg_1"].item() == pytest.approx(0.5 * smooth_l1(20 * SHIFT, 10 * LENGTHEN) / 2)
    assert losses["loss_box_reg_2"].item() == 0
    wanted = F.cross_entropy(found[2].answer[0], torch.tensor([0, 2])).item()
    assert losses["loss_classifier_2"].item() == pytest.approx(0.25 * wanted)


def test_later_stages_do_not_teach_earlier_deltas():
    deltas = [torch.full((2, 4), 0.01, requires_grad=True) for _ in range(3)]
    heads, _ = scripts(deltas)
    _, losses = heads.train()({}, [PROPOSAL], [(40, 40)], TARGETS)
    losses["loss_box_reg_1"].backward()
    assert deltas[0].grad is None
    assert deltas[1].grad.abs().sum() > 0


def test_ranges_apply_to_the_refined_boxes_of_every_stage():
    heads, found = scripts([torch.zeros(2, 4)] * 3)
    sizes = []

    def up_to_the_proposal(rois: Tensor, labels: Tensor, matched: Tensor, target: dict) -> Tensor:
        sizes.append([side for side in (rois[:, 3] - rois[:, 1]).tolist() if side])  # padding has none
        return rois[:, 3] - rois[:, 1] < 20

    heads.filter_rois = up_to_the_proposal
    assert heads.filter_rois is up_to_the_proposal
    for script in found:
        script.answer = tuple(rows[:1] for rows in script.answer)  # the object's own box is out of range
    heads.train()({}, [PROPOSAL], [(40, 40)], TARGETS)
    assert sizes == [[13, 20]] * 3
    assert [script.seen for script in found] == [[[PROPOSAL.tolist()]]] * 3


def test_refined_boxes_are_clipped_and_free_of_gradients():
    stage = Scripted(torch.zeros(1, 3), torch.zeros(1, 1, 4)).stage(0)
    boxes = [torch.tensor([[10.0, 10, 30, 50]]), torch.zeros(0, 4), torch.tensor([[10.0, 10, 30, 50]])]
    # Centre (20, 30), 20 wide, 40 high -> centre (22, 26), 40 x 40, and the same mirrored for the third image.
    deltas = torch.tensor([[[1.0, -1, 5 * math.log(2), 0]], [[-1.0, 1, 5 * math.log(2), 0]]], requires_grad=True)
    first, second, third = refine(stage, boxes, deltas, [(40, 41), (40, 40), (100, 100)])
    torch.testing.assert_close(first, torch.tensor([[2.0, 6, 41, 40]]))
    assert second.shape == (0, 4)
    torch.testing.assert_close(third, torch.tensor([[0.0, 14, 38, 54]]))
    assert not first.requires_grad


def test_only_objects_own_boxes_are_dropped():
    targets = torch.tensor([[0.0, 0, 0, 0], [0, 0.1, 0, 0], [0, 0, 0, 0], [math.nan] * 4])
    sampled = SampledRoIs([], [], [torch.tensor([3, 3, 0, 0])], [targets], [], [])
    assert not_objects(sampled)[0].tolist() == [False, True, True, True]


def test_detection_by_hand():
    move = torch.tensor([[1.0, 0, 0, 0]])
    heads, found = scripts([move, move, move])
    probabilities = torch.tensor([[[0.5, 0.3, 0.2]], [[0.2, 0.2, 0.6]], [[0.2, 0.1, 0.7]]])
    for script, scores in zip(found, probabilities, strict=True):
        script.answer = (scores.log(), script.answer[1])
    (result,), losses = heads.eval()({}, [torch.tensor([[0.0, 0, 60, 20]])], [(100, 100)])
    assert losses == {}
    # A tenth, a twentieth and a thirtieth of the width to the right.
    torch.testing.assert_close(torch.tensor(found[1].seen), torch.tensor([[[[6.0, 0, 66, 20]]]]))
    torch.testing.assert_close(torch.tensor(found[2].seen), torch.tensor([[[[9.0, 0, 69, 20]]]]))
    torch.testing.assert_close(result["boxes"], torch.tensor([[11.0, 0, 71, 20]] * 2))
    torch.testing.assert_close(result["scores"], torch.tensor([0.5, 0.2]))
    assert result["labels"].tolist() == [2, 1]


def test_stages_are_the_papers():
    heads = build_detector(tiny.changed(spec("cascade_rcnn"), recipe={"box_loss": "l1"}), 3).roi_heads
    assert LOSS_WEIGHTS == (1, 0.5, 0.25)
    assert [stage.proposal_matcher.high_threshold for stage in heads.stages] == [0.5, 0.6, 0.7]
    assert [stage.proposal_matcher.low_threshold for stage in heads.stages] == [0.5, 0.6, 0.7]
    assert [stage.box_coder.weights for stage in heads.stages] == [
        pytest.approx((10, 10, 5, 5)),
        pytest.approx((20, 20, 10, 10)),
        pytest.approx((30.303, 30.303, 14.925, 14.925), abs=1e-3),
    ]
    for stage in heads.stages:
        assert stage.box_loss == "smooth_l1"
        assert (stage.fg_bg_sampler.batch_size_per_image, stage.fg_bg_sampler.positive_fraction) == (16, 0.25)
        assert stage.box_predictor.bbox_pred.out_features == 4


def test_multiply_adds_count_every_stage_on_every_proposal():
    macs = [measure(full(detector))["macs"] for detector in ("faster_rcnn", "cascade_rcnn")]
    hidden = 256 * 49 * 1024 + 1024 * 1024
    single, stage = hidden + 1024 * (81 + 320), hidden + 1024 * (81 + 4)
    assert macs[1] - macs[0] == 1000 * (3 * stage - single)
