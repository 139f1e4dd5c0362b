"""Dynamic R-CNN: what its histories record, when threshold and beta move and where to, and its loss, by hand."""

from __future__ import annotations

import copy
import math

import overfit
import pytest
import tiny
import torch
from torch import Tensor, nn

from pipeline import config
from pipeline.models import build_detector
from pipeline.models.detectors import dynamic_rcnn
from pipeline.models.detectors.dynamic_rcnn import DynamicRoIHeads, mean_ranked_iou, ranked_target, remember
from pipeline.models.measure import on_meta
from pipeline.spec import Spec
from pipeline.training.checkpoint import load_weights, save_weights

NAN = math.nan
BOX = torch.tensor([[0.0, 0, 10, 10]])
ROIS = torch.tensor(
    [[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 10, 2], [50, 50, 60, 60]]
)  # 1, .8, .5, .2, 0


def heads(**arguments: int) -> DynamicRoIHeads:
    """Return heads whose network is not needed."""
    found = DynamicRoIHeads(
        **arguments,
        box_roi_pool=None,
        box_head=None,
        box_predictor=None,
        fg_iou_thresh=0.4,
        bg_iou_thresh=0.4,
        batch_size_per_image=8,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.05,
        nms_thresh=0.5,
        detections_per_img=3,
    )
    found._images = 1
    return found


def labels_of(roi_heads: DynamicRoIHeads) -> list[int]:
    return roi_heads.assign_targets_to_proposals([ROIS], [BOX], [torch.tensor([3])])[1][0].tolist()


def after(iou: float, target: float, steps: int, roi_heads: DynamicRoIHeads) -> tuple[float, float]:
    """Return threshold and beta after steps that all record the same."""
    for _ in range(steps):
        remember(roi_heads.iou_history, torch.tensor(iou))
        remember(roi_heads.beta_history, torch.tensor(target))
        roi_heads.update()
    return round(roi_heads.iou_threshold.item(), 5), round(roi_heads.beta.item(), 5)


# What is recorded


def test_the_ranked_iou_is_the_mean_over_images_with_objects():
    assert mean_ranked_iou([ROIS], [BOX], 2).item() == pytest.approx(0.8)
    assert mean_ranked_iou([ROIS, ROIS[2:]], [BOX, BOX], 2).item() == pytest.approx((0.8 + 0.2) / 2)
    assert mean_ranked_iou([ROIS], [BOX], 75).item() == 0  # fewer proposals than the rank: the least
    assert mean_ranked_iou([ROIS, ROIS], [BOX, torch.zeros(0, 4)], 3).item() == pytest.approx(0.5)
    assert math.isnan(mean_ranked_iou([ROIS], [torch.zeros(0, 4)], 3))


def test_an_iou_is_that_with_the_best_object():
    two = torch.tensor([[0.0, 0, 10, 2], [0, 0, 10, 10]])
    assert mean_ranked_iou([ROIS], [two], 4).item() == pytest.approx(0.5)  # 1, 1, .8, .5, 0


def test_the_ranked_target_is_of_centres_alone():
    targets = torch.tensor([[0.4, -0.2, 9, 9], [0.1, 0.1, 9, 9], [-2.0, 0.0, 9, 9]])  # .3, .1, 1
    assert [ranked_target(targets, rank).item() for rank in (1, 2, 3, 10)] == pytest.approx([0.1, 0.3, 1.0, 1.0])
    assert math.isnan(ranked_target(targets[:0], 10))


def test_beta_ranks_ten_targets_an_image():
    roi_heads = heads(beta_rank=1)
    roi_heads._images = 2
    wanted = torch.tensor([[0.5, 0.5, 0, 0], [0.1, 0.1, 0, 0], [0.3, 0.3, 0, 0]])
    roi_heads.box_losses(wanted, wanted)
    assert roi_heads.beta_history[-1].item() == pytest.approx(0.3)  # the second smallest


# What follows from it


def test_nothing_moves_before_a_hundred_steps():
    assert after(0.7, 0.25, 99, heads()) == (0.4, 1.0)


def test_threshold_and_beta_move_at_a_hundred_steps():
    roi_heads = heads()
    assert after(0.7, 0.25, 100, roi_heads) == (0.7, 0.25)
    assert after(0.6, 0.5, 99, roi_heads) == (0.7, 0.25)
    assert after(0.6, 0.5, 1, roi_heads) == (0.6, 0.5)


def test_threshold_is_a_mean_and_beta_a_median():
    roi_heads = heads()
    after(0.5, 0.2, 60, roi_heads)
    assert after(0.75, 0.9, 40, roi_heads) == (0.6, 0.2)


def test_an_even_history_has_its_median_between():
    roi_heads = heads()
    after(0.5, 0.2, 50, roi_heads)
    assert after(0.5, 0.4, 50, roi_heads)[1] == 0.3


def test_threshold_and_beta_stay_within_their_starts():
    assert after(0.2, 5.0, 100, heads()) == (0.4, 1.0)


def test_a_beta_of_nothing_is_not_taken():
    assert after(0.5, 0.0, 100, heads()) == (0.5, 1.0)


def test_steps_without_objects_do_not_count():
    roi_heads = heads()
    assert after(NAN, NAN, 100, roi_heads) == (0.4, 1.0)
    after(NAN, NAN, 60, roi_heads)
    assert after(0.6, 0.3, 40, roi_heads) == (0.6, 0.3)


def test_the_threshold_decides_who_is_positive():
    roi_heads = heads()
    assert labels_of(roi_heads) == [3, 3, 3, 0, 0]
    assert roi_heads.iou_history[-1].item() == 0  # of the five, the 75th best
    roi_heads.iou_threshold.fill_(0.6)
    assert labels_of(roi_heads) == [3, 3, 0, 0, 0]


def test_the_box_loss_by_hand():
    roi_heads = heads()
    deltas = torch.tensor([[0.2, -1.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.1]], requires_grad=True)
    wanted = torch.zeros(2, 4)
    assert roi_heads.box_losses(deltas, wanted).tolist() == pytest.approx([0.02 + 0.5 + 0.125, 0.005])
    roi_heads.beta.fill_(0.5)  # |x| - .25 from .5 on, x^2 below
    losses = roi_heads.box_losses(deltas, wanted)
    assert losses.tolist() == pytest.approx([0.04 + 0.75 + 0.25, 0.01])
    losses.sum().backward()
    torch.testing.assert_close(deltas.grad, torch.tensor([[0.4, -1, 0, 1], [0, 0, 0, 0.2]]))


# The detector


def spec(**training: object) -> Spec:
    return tiny.spec("msfm_dynamic_rcnn_r50_fpn_1x", **training)


def detector(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return build_detector(spec(), classes)


def pictures(count: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 64, 96 - 16 * row, generator=generator) for row in range(count)]


def target(*boxes: list[float]) -> dict[str, Tensor]:
    found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": found, "labels": torch.ones(len(found), dtype=torch.int64)}


def step(model: nn.Module, targets: list[dict[str, Tensor]], seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    losses = model.train()(pictures(len(targets)), targets)
    model.zero_grad()
    sum(losses.values()).backward()
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    return losses


def test_parameters_are_those_of_faster_rcnn():
    for name, total, trainable in (
        ("msfm_dynamic_rcnn_r50_fpn_1x", 41_753_056, 41_527_712),
        ("msfm_dynamic_rcnn_r50_fpn_1x_msfm", 44_071_784, 43_846_440),
    ):
        with on_meta():
            found = list(build_detector(config.resolve(name, "full")).parameters())
        assert (sum(p.numel() for p in found), sum(p.numel() for p in found if p.requires_grad)) == (total, trainable)


def test_the_rank_of_ious_follows_the_sampled_rois():
    with on_meta():
        full = build_detector(config.resolve("msfm_dynamic_rcnn_r50_fpn_1x", "full")).roi_heads
        mini = build_detector(config.resolve("msfm_dynamic_rcnn_r50_fpn_1x", "mini")).roi_heads
    assert (full.iou_rank, full.beta_rank) == (75, 10)
    assert (mini.iou_rank, mini.beta_rank) == (9, 10)  # 64 RoIs of 512


def test_every_step_is_recorded():
    model = detector()
    step(model, [target([8, 8, 60, 50]), target()])
    roi_heads = model.roi_heads
    assert roi_heads.steps.item() == 1
    # Of 16 RoIs an image K_I is 2, and the object itself is a proposal of IoU 1.
    assert roi_heads.iou_rank == 2
    assert 0 < roi_heads.iou_history[-1].item() < 1
    assert roi_heads.beta_history[-1].item() == 0  # the object's own target
    assert roi_heads.iou_history[:-1].isnan().all()


def test_evaluation_records_nothing():
    model = detector().eval()
    with torch.inference_mode():
        model(pictures())
    assert model.roi_heads.steps.item() == 0


def test_images_without_objects():
    model = detector()
    losses = step(model, [target(), target()])
    assert losses["loss_box_reg"].item() == 0
    assert model.roi_heads.steps.item() == 1
    assert model.roi_heads.iou_history.isnan().all()


def test_one_class_and_a_thousand_objects():
    corners = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) * 50
    crowd = {"boxes": torch.cat([corners, corners + 12], dim=1), "labels": torch.ones(1000, dtype=torch.int64)}
    model = detector(classes=1)
    step(model, [crowd])
    assert set(model.positives.areas.round().tolist()) == {144.0}


def test_bf16_losses_are_close_to_fp32s():
    targets = [target([8, 8, 60, 50]), target([0, 0, 30, 20])]
    wanted = {name: loss.item() for name, loss in step(detector(), targets).items()}
    with torch.autocast("cpu", torch.bfloat16):
        found = step(detector(), targets)
    assert {name: loss.item() for name, loss in found.items()} == pytest.approx(wanted, rel=0.05)


def test_batched_inference_equals_single():
    model = detector().eval()
    images = [torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    with torch.inference_mode():
        together, alone = model(images), [model([image])[0] for image in images]
    for a, b in zip(together, alone, strict=True):
        assert len(a["boxes"]) > 0
        torch.testing.assert_close(a["boxes"], b["boxes"], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(a["scores"], b["scores"], rtol=1e-4, atol=1e-5)


def test_a_resumed_training_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(dynamic_rcnn, "INTERVAL", 3)
    targets = [target([8, 8, 60, 50], [30, 20, 70, 60]), target([0, 0, 30, 20])]
    whole = detector()
    for seed in range(2):
        step(whole, targets, seed)
    save_weights(tmp_path / "half.safetensors", copy.deepcopy(whole.state_dict()))
    resumed = detector()
    resumed.load_state_dict(load_weights(tmp_path / "half.safetensors")[0])
    for seed in (2, 3):
        step(whole, targets, seed)
        step(resumed, targets, seed)
    assert whole.roi_heads.steps.item() == 4
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)), name


@pytest.mark.slow
def test_eight_images_are_learnt():
    model, found = overfit.overfit(overfit.spec("msfm_dynamic_rcnn_r50_fpn_1x"), steps=120)
    assert found["bbox"] > 0.9
    assert model.roi_heads.steps.item() == 120
    assert 0.5 < model.roi_heads.iou_threshold.item() < 0.95  # by step 100 proposals are better than at the start
