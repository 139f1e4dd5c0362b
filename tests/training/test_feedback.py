"""Feedback of dynamic scale training: official shares, hand-computed ones, and the decisions that follow."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from official_numbers import load_case
from torch import Tensor

from pipeline.models import build_detector
from pipeline.models.normaliser import set_normaliser
from pipeline.options import CollageOptions
from pipeline.training import ScaleFeedback, small_loss_share
from pipeline.training.feedback import CollageSchedule, feedback_share, small_object_share


class Positives(NamedTuple):
    """What the RoI heads remember of a step."""

    regression: Tensor
    classification: Tensor
    areas: Tensor
    all_classification: Tensor | None = None


POSITIVES = Positives(
    torch.tensor([1.0, 2.0, 5.0]),
    torch.tensor([3.0, 0.0, 1.0]),
    torch.tensor([100.0, 1024, 5000]),
    torch.tensor(16.0),  # the background's 12 beside the positives' 4
)


def load(case: str) -> tuple[dict[str, Tensor], dict]:
    arrays, facts = load_case(f"stitcher/loss_ratio/{case}")
    return {key: torch.from_numpy(np.asarray(value)) for key, value in arrays.items()}, facts


def box_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def smooth_l1(difference: Tensor, beta: float) -> Tensor:
    return F.smooth_l1_loss(difference, torch.zeros_like(difference), beta=beta, reduction="none").sum(dim=1)


@pytest.mark.parametrize("case", ["roi_01_reg_mixed", "roi_03_reg_nosmall", "roi_04_reg_nopos"])
def test_regression_share_equals_the_official_one(case: str) -> None:
    arrays, facts = load(case)
    positive = torch.where(arrays["labels"] > 0)[0]
    deltas = arrays["box_regression"].reshape(len(arrays["labels"]), -1, 4)
    chosen = deltas[positive, arrays["labels"][positive]]
    losses = smooth_l1(chosen - arrays["regression_targets"][positive], beta=1.0)
    share = small_loss_share(losses, box_area(arrays["matched_gt_boxes"][positive]))
    assert share == pytest.approx(facts["ratio_small"], abs=1e-5, nan_ok=True)
    assert ScaleFeedback().update(share) is facts["use_collage_next"]


def test_classification_share_is_the_proportion_behind_the_official_number() -> None:
    """The official number divides by the mean over all RoIs; dividing by their sum gives a true proportion."""
    arrays, facts = load("roi_02_cls_mixed")
    losses = F.cross_entropy(arrays["class_logits"], arrays["labels"], reduction="none")
    areas = box_area(arrays["matched_gt_boxes"]).where(arrays["labels"] > 0, torch.tensor(math.inf))
    share = small_loss_share(losses, areas)
    assert share == pytest.approx(facts["ratio_small"] / facts["n_sampled"], rel=1e-5)
    positive = arrays["labels"] > 0
    only = Positives(losses[positive], losses[positive], areas[positive], losses.sum())
    background = float(losses.sum() / losses[positive].sum())
    assert feedback_share("classification_loss", only, areas) == pytest.approx(share * background, rel=1e-5)
    assert feedback_share("classification_loss_all", only, areas) == pytest.approx(share, rel=1e-5)


def test_share_of_dense_anchors_equals_the_official_one() -> None:
    arrays, facts = load("retina_01")
    losses, areas = [], []
    for image in range(2):
        deltas = []
        for level in range(3):
            reg = arrays[f"reg{level}"][image]  # [A * 4, h, w]
            deltas.append(reg.reshape(-1, 4, *reg.shape[1:]).permute(2, 3, 0, 1).reshape(-1, 4))
        positive = arrays[f"labels{image}"] > 0
        difference = (torch.cat(deltas) - arrays[f"regression_targets{image}"])[positive]
        losses.append(smooth_l1(difference, facts["beta"]))
        areas.append(box_area(arrays[f"matched_gt{image}"][positive]))
    assert sum(map(len, losses)) == facts["n_pos"]
    share = small_loss_share(torch.cat(losses), torch.cat(areas))
    assert share == pytest.approx(facts["ratio_small"], abs=1e-5)
    assert ScaleFeedback().update(share) is facts["use_collage_next"]


def test_share_by_hand() -> None:
    losses, areas = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([1023.9, 1024.0, 4000.0])
    assert small_loss_share(losses, areas) == 0.125  # 1024 itself is not small
    assert small_loss_share(losses, areas, threshold=1024.1) == 0.375
    assert small_loss_share(losses, areas, threshold=0) == 0
    assert small_loss_share(losses, areas, threshold=math.inf) == 1


def test_a_share_that_does_not_exist_is_nan() -> None:
    assert math.isnan(small_loss_share(torch.zeros(0), torch.zeros(0)))
    assert math.isnan(small_loss_share(torch.zeros(2), torch.tensor([1.0, 5000.0])))
    assert math.isnan(small_object_share(torch.zeros(0)))


def test_a_share_carries_no_gradient_and_needs_matching_lengths() -> None:
    assert small_loss_share(torch.ones(2, requires_grad=True), torch.tensor([1.0, 5000.0])) == 0.5
    with pytest.raises(ValueError, match=r"must both be \[p\], found \[2\] and \[3\]"):
        small_loss_share(torch.ones(2), torch.ones(3))


@given(st.lists(st.tuples(st.just(0.0) | st.floats(1e-3, 1e3), st.floats(0, 1e5)), max_size=20), st.floats(0.5, 1e4))
def test_a_share_is_a_proportion_that_no_normalisation_changes(rows: list[tuple[float, float]], scale: float) -> None:
    losses, areas = torch.tensor(rows, dtype=torch.float64).reshape(-1, 2).unbind(1)
    share = small_loss_share(losses, areas)
    if math.isnan(share):
        assert not losses.sum()
        return
    assert -1e-12 <= share <= 1 + 1e-12
    assert small_loss_share(losses * scale, areas) == pytest.approx(share, abs=1e-9)
    assert small_loss_share(losses, areas, threshold=2048.0) >= share - 1e-12


def test_decisions() -> None:
    feedback = ScaleFeedback(threshold=0.1)
    assert feedback.collage_next is True
    assert feedback.update(math.nan) is False
    assert feedback.update(0.0999) is True
    assert feedback.update(0.1) is False  # strict
    assert feedback.update(0.0) is True
    assert feedback.update(torch.tensor(0.5)) is False


@pytest.mark.parametrize(
    ("feedback", "share"),
    [
        ("regression_loss", 1 / 8),
        ("classification_loss", 3 / 4),
        ("classification_loss_all", 3 / 16),
        ("joint_loss", 4 / 12),
        ("input_ratio", 2 / 5),
        ("random", 1 / 8),
        ("always", 1 / 8),
        ("never", 1 / 8),
    ],
)
def test_every_feedback_reads_its_own_signal(feedback: str, share: float) -> None:
    gt_areas = torch.tensor([10.0, 1000, 1024, 2000, 9000])
    assert feedback_share(feedback, POSITIVES, gt_areas) == pytest.approx(share)
    if feedback in ("random", "always", "never"):
        return
    for threshold in (share - 0.01, share, share + 0.01):
        schedule = CollageSchedule(CollageOptions(feedback=feedback, threshold=threshold), seed=1)
        schedule.observe(POSITIVES, [gt_areas[:2], gt_areas[2:]])
        assert schedule.collage(1) is (share < threshold)


def test_the_loss_of_all_rois_needs_to_be_known() -> None:
    with pytest.raises(ValueError, match="needs `all_classification`"):
        feedback_share("classification_loss_all", POSITIVES._replace(all_classification=None), torch.ones(1))


def test_one_decision_a_step_on_the_sums_of_its_batches() -> None:
    def part(small: float, large: float) -> Positives:
        return Positives(torch.tensor([small, large]), torch.zeros(2), torch.tensor([4.0, 5000.0]), torch.tensor(1.0))

    areas = [torch.ones(1)]
    schedule = CollageSchedule(CollageOptions(threshold=0.1), seed=1)
    schedule.observe(part(1.0, 1.0), areas, last=False)  # a share of a half alone
    assert schedule.collage(0) is True  # the step goes on as it started
    schedule.observe(part(0.0, 20.0), areas, last=True)  # 1 / 22 together, where the mean of shares is a quarter
    assert schedule.collage(1) is True
    schedule.observe(part(0.0, 1.0), areas, last=False)
    schedule.observe(part(1.0, 1.0), areas, last=True)  # 1 / 3
    assert schedule.collage(2) is False
    schedule.observe(part(0.0, 1.0), areas, last=False)
    schedule.observe(part(0.0, 1.0), [torch.zeros(0), *areas], last=True)  # an image without objects: no decision
    assert schedule.collage(3) is False
    schedule.observe(part(0.0, 1.0), areas, last=True)
    assert schedule.collage(4) is True


def test_steps_without_a_share_are_followed_by_regular_images() -> None:
    schedule = CollageSchedule(CollageOptions(), seed=1)
    schedule.observe(Positives(*[torch.zeros(0)] * 3, torch.tensor(0.0)), [torch.ones(2)])  # no positives
    assert schedule.collage(1) is False
    schedule.observe(POSITIVES._replace(areas=torch.full((3,), 9000.0)), [torch.ones(2)])  # none of them small
    assert schedule.collage(2) is True
    schedule.observe(POSITIVES._replace(regression=torch.tensor([math.nan, 1.0, 1.0])), [torch.ones(2)])
    assert schedule.collage(3) is False


@pytest.mark.parametrize("family", ["retinanet", "fcos", "reppoints", "faster_rcnn", "mask_rcnn", "dynamic_rcnn"])
def test_detectors_remember_what_every_feedback_reads(family: str) -> None:
    torch.manual_seed(0)
    model = build_detector(tiny.with_detector(tiny.spec("dst_frcnn_r50_fpn_1x"), family), 3).train()
    set_normaliser(model, lambda count, least=1.0: 1.0)  # losses are sums
    boxes = torch.tensor([[4.0, 6, 40, 50], [50, 10, 53, 13]])
    masks = torch.ones(2, 64, 96, dtype=torch.uint8)
    target = {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks}
    losses = model([torch.rand(3, 64, 96)], [target])
    found = model.positives
    assert found.all_classification.item() == pytest.approx(losses["loss_classifier"].item(), rel=1e-5)
    assert set(found.areas.tolist()) <= {9.0, 36.0 * 44.0}
    shares = {
        name: feedback_share(name, found, box_area(boxes), 10.0)
        for name in ("regression_loss", "classification_loss", "classification_loss_all", "joint_loss", "input_ratio")
    }
    small = found.areas < 10.0
    assert shares["classification_loss_all"] == pytest.approx(
        float(found.classification[small].sum()) / losses["loss_classifier"].item(), rel=1e-5
    )
    assert shares["classification_loss_all"] <= shares["classification_loss"]
    assert shares["input_ratio"] == 0.5


def test_always_and_random_ignore_the_losses() -> None:
    always = CollageSchedule(CollageOptions(feedback="always"), seed=1)
    random = CollageSchedule(CollageOptions(feedback="random"), seed=1)
    before = [random.collage(step) for step in range(2000)]
    never = CollageSchedule(CollageOptions(feedback="never"), seed=1)
    for schedule in (always, random, never):
        schedule.observe(POSITIVES._replace(areas=torch.full((3,), 9000.0)), [torch.ones(1)])
    assert not any(never.collage(step) for step in range(5))
    assert all(always.collage(step) for step in range(5))
    assert [random.collage(step) for step in range(2000)] == before
    assert 0.46 < sum(before) / 2000 < 0.54
    other = CollageSchedule(CollageOptions(feedback="random"), seed=2)
    assert 0.4 < sum(other.collage(step) == row for step, row in enumerate(before)) / 2000 < 0.6
