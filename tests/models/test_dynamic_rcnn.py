"""Dynamic R-CNN: what its histories record, when threshold and beta move and where to, and its loss, by hand."""

import copy
import math

import pytest
import torch
from batches import learn, model, pictures, roi_options, target
from torch import Tensor, nn

from pipeline import config
from pipeline.models import build_detector
from pipeline.models.detectors import dynamic_rcnn
from pipeline.models.detectors.dynamic_rcnn import DynamicRoIHeads, mean_ranked_iou, ranked_target, remember
from pipeline.models.measure import on_meta
from pipeline.training.checkpoint import load_weights, save_weights

NAN = math.nan
BOX = torch.tensor([[0.0, 0, 10, 10]])
ROIS = torch.tensor(
    [[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 10, 2], [50, 50, 60, 60]]
)  # 1, .8, .5, .2, 0


def heads(**arguments: int) -> DynamicRoIHeads:
    """Return heads whose network is not needed."""
    found = DynamicRoIHeads(**arguments, **roi_options(fg_iou_thresh=0.4, bg_iou_thresh=0.4))
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


def test_the_ranked_iou_is_the_mean_over_images_with_objects():
    assert mean_ranked_iou([ROIS], [BOX], 2).item() == pytest.approx(0.8)
    assert mean_ranked_iou([ROIS, ROIS[2:]], [BOX, BOX], 2).item() == pytest.approx((0.8 + 0.2) / 2)
    assert mean_ranked_iou([ROIS], [BOX], 75).item() == 0  # fewer proposals than the rank: the least
    assert mean_ranked_iou([ROIS, ROIS], [BOX, torch.zeros(0, 4)], 3).item() == pytest.approx(0.5)
    assert math.isnan(mean_ranked_iou([ROIS], [torch.zeros(0, 4)], 3))
    two = torch.tensor([[0.0, 0, 10, 2], [0, 0, 10, 10]])  # with the better one: 1, 1, .8, .5, 0
    assert mean_ranked_iou([ROIS], [two], 4).item() == pytest.approx(0.5)


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


def test_threshold_and_beta_move_at_a_hundred_steps():
    assert after(0.7, 0.25, 99, heads()) == (0.4, 1.0)
    roi_heads = heads()
    assert after(0.7, 0.25, 100, roi_heads) == (0.7, 0.25)
    assert after(0.6, 0.5, 99, roi_heads) == (0.7, 0.25)
    assert after(0.6, 0.5, 1, roi_heads) == (0.6, 0.5)


@pytest.mark.parametrize(
    ("first", "second", "moved"),
    [
        ((0.5, 0.2, 60), (0.75, 0.9, 40), (0.6, 0.2)),  # the threshold is a mean, beta a median
        ((0.5, 0.2, 50), (0.5, 0.4, 50), (0.5, 0.3)),  # an even history has its median between
        ((0.2, 5.0, 60), (0.2, 5.0, 40), (0.4, 1.0)),  # both stay within their starts
        ((0.5, 0.0, 60), (0.5, 0.0, 40), (0.5, 1.0)),  # a beta of nothing is not taken
        ((NAN, NAN, 60), (NAN, NAN, 40), (0.4, 1.0)),  # steps without objects do not count
        ((NAN, NAN, 60), (0.6, 0.3, 40), (0.6, 0.3)),
    ],
)
def test_what_threshold_and_beta_move_to(first, second, moved):
    roi_heads = heads()
    after(*first, roi_heads)
    assert after(*second, roi_heads) == moved


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


def step(found: nn.Module, targets: list[dict[str, Tensor]], seed: int = 0) -> None:
    torch.manual_seed(seed)
    learn(found, pictures([(3, 64, 96), (3, 64, 80)]), targets)


def test_the_rank_of_ious_follows_the_sampled_rois():
    with on_meta():
        full = build_detector(config.resolve("msfm_dynamic_rcnn_r50_fpn_1x", "full")).roi_heads
        mini = build_detector(config.resolve("msfm_dynamic_rcnn_r50_fpn_1x", "mini")).roi_heads
    assert (full.iou_rank, full.beta_rank) == (75, 10)
    assert (mini.iou_rank, mini.beta_rank) == (9, 10)  # 64 RoIs of 512


def test_every_step_with_objects_is_recorded_and_no_evaluation():
    found = model("dynamic_rcnn")
    with torch.inference_mode():
        found.eval()(pictures([(3, 64, 96)]))
    assert found.roi_heads.steps.item() == 0
    step(found, [target(), target()])
    assert found.roi_heads.steps.item() == 1
    assert found.roi_heads.iou_history.isnan().all()
    found = model("dynamic_rcnn")
    step(found, [target([8, 8, 60, 50]), target()])
    roi_heads = found.roi_heads
    assert roi_heads.steps.item() == 1
    # Of 16 RoIs an image K_I is 2, and the object itself is a proposal of IoU 1.
    assert roi_heads.iou_rank == 2
    assert 0 < roi_heads.iou_history[-1].item() < 1
    assert roi_heads.beta_history[-1].item() == 0  # the object's own target
    assert roi_heads.iou_history[:-1].isnan().all()


def test_a_resumed_training_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(dynamic_rcnn, "INTERVAL", 3)
    targets = [target([8, 8, 60, 50], [30, 20, 70, 60]), target([0, 0, 30, 20])]
    whole = model("dynamic_rcnn")
    for seed in range(2):
        step(whole, targets, seed)
    save_weights(tmp_path / "half.safetensors", copy.deepcopy(whole.state_dict()))
    resumed = model("dynamic_rcnn")
    resumed.load_state_dict(load_weights(tmp_path / "half.safetensors")[0])
    for seed in (2, 3):
        step(whole, targets, seed)
        step(resumed, targets, seed)
    assert whole.roi_heads.steps.item() == 4
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)), name
