"""Grid R-CNN: points, heatmaps and boxes by hand, its parameters and its losses."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from batches import learn, model, target

from pipeline.models.detectors.grid_rcnn import GridRoIHeads, choose, jittered
from pipeline.models.heads.grid_head import GridHead, neighbours
from pipeline.models.heads.grid_points import decode_boxes, grid_points, grid_targets, window_origins
from pipeline.models.heads.two_stage import TwoStageDetector

ROI = torch.tensor([[100.0, 100.0, 156.0, 128.0]])  # its doubled box is (72, 86, 184, 142): 2 and 1 pixels a map pixel


def test_grid_head_has_mmdetections_parameters():
    with torch.device("meta"):
        head = GridHead(256)
    convolutions = 256 * 576 * 9 + 576 + 7 * (576 * 576 * 9 + 576) + 8 * 2 * 576
    transitions = 48 * (64 * 25 + 64 + 64 * 64 + 64)
    deconvolutions = 576 * 64 * 16 + 576 + 2 * 576 + 576 * 1 * 16 + 9
    assert sum(p.numel() for p in head.parameters()) == convolutions + transitions + deconvolutions == 23_123_145


@pytest.mark.parametrize(("channels", "wanted"), [(256, 64), (64, 16), (16, 4), (8, 4)])
def test_points_features_are_a_quarter_of_the_pyramids(channels, wanted):
    assert GridHead(channels).point_channels == wanted


def test_points_count_column_by_column():
    points = grid_points(torch.tensor([[0.0, 10.0, 4.0, 30.0]]))[0].tolist()
    assert points == [[0, 10], [0, 20], [0, 30], [2, 10], [2, 20], [2, 30], [4, 10], [4, 20], [4, 30]]
    assert window_origins().tolist() == [[x, y] for x in (0, 14, 28) for y in (0, 14, 28)]  # halves they lie in
    assert [neighbours(point) for point in (0, 1, 4, 8)] == [[1, 3], [0, 2, 4], [1, 3, 5, 7], [5, 7]]
    assert sum(len(neighbours(point)) for point in range(9)) == 24


def test_target_of_an_exact_roi_by_hand():
    # Its corners lie at a quarter and three quarters of the map: pixels 14 and 42, less the window's origin.
    maps = grid_targets(ROI, ROI, 3)
    assert maps.shape == (1, 9, 28, 28)
    for point, (x, y) in enumerate((x, y) for x in (14, 28 - 14, 42 - 28) for y in (14, 28 - 14, 42 - 28)):
        wanted = torch.zeros(28, 28)
        for row, column in ((y, x), (y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            wanted[row, column] = 1
        assert torch.equal(maps[0, point], wanted), point


def test_target_of_a_moved_object_by_hand():
    # Top left (90, 110) is pixel (18 / 2, 24 / 1); bottom right (160, 141.5) is (44, 55): windows start at 28.
    maps = grid_targets(ROI, torch.tensor([[90.0, 110.0, 160.0, 141.5]]), 3)[0]
    assert {tuple(place) for place in maps[0].nonzero().tolist()} == {(24, 9), (23, 9), (25, 9), (24, 8), (24, 10)}
    assert {tuple(place) for place in maps[8].nonzero().tolist()} == {(27, 16), (26, 16), (27, 15), (27, 17)}
    assert maps[6].nonzero().tolist() == [[23, 16], [24, 15], [24, 16], [24, 17], [25, 16]]  # top right: (44, 24)


def test_points_outside_their_window_and_small_rois_have_empty_targets():
    far = torch.tensor([[160.0, 100.0, 180.0, 128.0]])  # its left side is right of the RoI's centre
    maps = grid_targets(ROI, far, 3)[0].flatten(1).sum(1)
    assert maps[:3].tolist() == [0, 0, 0]
    assert maps[4] == 0
    assert maps[6:].min() > 0
    assert grid_targets(ROI, ROI, 56.0).sum() == 0  # the doubled box is 112 by 56
    assert grid_targets(ROI, ROI, 55.9).sum() == 45


def test_boxes_are_read_off_their_own_targets():
    objects = torch.tensor([[90.0, 110.0, 160.0, 141.5], [100.0, 100.0, 156.0, 128.0], [101.0, 93.0, 148.0, 124.0]])
    rois = ROI.expand(3, 4)
    maps = grid_targets(rois, objects, 3)
    peaks = maps * 10 - 5
    for point in range(9):  # the middle of the plus
        for row in range(3):
            ys, xs = maps[row, point].nonzero().float().T
            peaks[row, point, ys.median().long(), xs.median().long()] += 1
    found = decode_boxes(peaks, rois)
    assert (found - objects).abs().max() <= 1.0 + 1e-4  # half a map pixel, 2 by 1 pixels each


def test_sides_are_voted_by_hand():
    maps = torch.full((1, 9, 28, 28), -100.0)
    for point in range(9):
        maps[0, point, 14, 14] = 0.0  # probability 0.5 at the point's place in an exact RoI
    maps[0, 1, 14, 14] = -100.0
    maps[0, 1, 14, 4] = math.log(3)  # the left side's middle says 10 pixels further left, with probability 0.75
    left, top, right, bottom = decode_boxes(maps, ROI)[0].tolist()
    plain, moved = 72 + 14.5 * 2, 72 + 4.5 * 2
    assert left == pytest.approx((0.5 * plain + 0.75 * moved + 0.5 * plain) / 1.75)
    assert (top, right, bottom) == pytest.approx((86 + 14.5, 72 + 42.5 * 2, 86 + 42.5))


def test_jitter_keeps_to_its_bounds_and_to_the_image():
    torch.manual_seed(0)
    rois = torch.tensor([[40.0, 40.0, 60.0, 80.0]]).repeat(1000, 1)
    moved = jittered(rois, (200, 200))
    centres, sides = (moved[:, :2] + moved[:, 2:]) / 2 - rois.new_tensor([50, 60]), moved[:, 2:] - moved[:, :2]
    assert 2.9 < centres[:, 0].abs().max() <= 3.0
    assert 5.9 < centres[:, 1].abs().max() <= 6.0
    assert 17 <= sides[:, 0].min() < 17.1
    assert 22.9 < sides[:, 0].max() <= 23
    inside = jittered(rois, (70, 50))
    assert inside[:, 2].max() <= 50
    assert inside[:, 3].max() <= 70


def test_choice_is_without_repetition():
    assert choose([2, 3], 5, torch.device("cpu")).tolist() == [0, 1, 2, 3, 4]
    torch.manual_seed(0)
    chosen = choose([70, 30], 40, torch.device("cpu")).tolist()
    assert len(set(chosen)) == 40
    assert chosen == sorted(chosen)
    assert max(chosen) < 100


def test_fusion_by_hand():
    torch.manual_seed(0)
    head = GridHead(16).eval()
    x = torch.randn(2, 16, 14, 14)
    with torch.no_grad():
        features = head.convolutions(x)
        points = features.split(4, dim=1)
        first = [
            own + sum(head.first_order.transitions[p][i](points[q]) for i, q in enumerate(neighbours(p)))
            for p, own in enumerate(points)
        ]
        second = [
            own + sum(head.second_order.transitions[p][i](first[q]) for i, q in enumerate(neighbours(p)))
            for p, own in enumerate(points)
        ]
        wanted = head.upsample(torch.cat(second, dim=1))
        fused, unfused = head(x)
        torch.testing.assert_close(fused, wanted)
        assert unfused is None
        torch.testing.assert_close(head.train()(x)[1], head.upsample(features))


def test_heatmaps_start_near_one_percent():
    torch.manual_seed(0)
    with torch.no_grad():
        fused, _ = GridHead(64).eval()(torch.randn(3, 64, 14, 14))
    assert fused.sigmoid().mean().item() == pytest.approx(0.01, abs=0.002)


def test_grid_loss_by_hand():
    """Every logit 0: log 2 a pixel, in both maps; 15 times their sum, for every RoI."""
    heads = model("grid_rcnn").train().roi_heads
    torch.nn.init.zeros_(heads.grid_head.upsample[-1].weight)
    torch.nn.init.zeros_(heads.grid_head.upsample[-1].bias)
    features = {str(level): torch.randn(1, 16, 64 >> level, 64 >> level) for level in range(4)}
    loss = heads.grid_loss(features, [ROI / 2], ROI / 2)
    assert loss.tolist() == pytest.approx([2 * 15 * math.log(2)])
    torch.nn.init.constant_(heads.grid_head.upsample[-1].bias, -2.0)
    positive, pixels = 45, 9 * 28 * 28
    mean = (positive * F.softplus(torch.tensor(2.0)) + (pixels - positive) * F.softplus(torch.tensor(-2.0))) / pixels
    assert heads.grid_loss(features, [ROI / 2], ROI / 2).tolist() == pytest.approx([30 * mean.item()])


def step(detector: TwoStageDetector, sizes: list[tuple[int, int]], targets: list[dict]) -> dict[str, float]:
    torch.manual_seed(1)
    return learn(detector, [torch.rand(3, *size) for size in sizes], targets)


CASE = ([(96, 128)], [target([10, 10, 60, 70], [50, 20, 90, 60])])


def test_positives_hold_the_grid_loss_of_each_roi():
    detector = model("grid_rcnn")
    losses = step(detector, *CASE)
    assert 0 < losses["loss_grid"] < 30 * math.log(2)
    found = detector.positives
    assert len(found.regression) == len(found.classification) == len(found.areas) > 0
    assert set(found.areas.tolist()) <= {3000.0, 1600.0}
    assert found.regression.mean().item() == pytest.approx(losses["loss_grid"], rel=1e-5)


def test_losses_of_small_objects_can_be_amplified_to_equal_the_others():
    detector = model("grid_rcnn")
    plain = step(detector, *CASE)["loss_grid"]
    detector.roi_heads.small_below = 2000.0
    found = step(detector, *CASE)["loss_grid"]
    areas, losses = detector.positives.areas, detector.positives.regression
    share = (losses[areas < 2000].sum() / losses.sum()).item()
    assert 0 < share < 1
    assert found == pytest.approx(plain * max(1, 2 * (1 - share)), rel=1e-5)


@pytest.mark.parametrize("limit", [1, 3])
def test_the_grid_head_trains_on_a_limited_number_of_rois(limit, monkeypatch):
    monkeypatch.setattr("pipeline.models.detectors.grid_rcnn.ROIS_AN_IMAGE", limit)
    detector = model("grid_rcnn")
    step(detector, [(96, 128), (96, 128)], [target([10, 10, 60, 70]), target([50, 20, 90, 60])])
    assert 0 < len(detector.positives.areas) <= 2 * limit


def test_boxes_come_from_the_grid_head_and_suppression_before_it():
    """A grid head that always names the RoI's own points leaves RoIs where they are."""
    detector = model("grid_rcnn").eval()
    heads: GridRoIHeads = detector.roi_heads
    assert heads.nms_thresh == 0.3
    heads.score_thresh = 0.0
    own = torch.full((9, 28, 28), -9.0)
    own[:, 14, 14] = 9.0
    heads.grid_head.forward = lambda x: (own.expand(len(x), -1, -1, -1), None)
    with torch.no_grad():
        found = detector([torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0))])[0]["boxes"]
        features = {str(level): torch.zeros(1, 16, 24 >> level, 32 >> level) for level in range(4)}
        rois = torch.tensor([[8.0, 8.0, 64.0, 36.0]])
        alone = heads.detect(features, [rois], [(96, 128)])[0]["boxes"]
        clipped = heads.detect(features, [rois], [(30, 60)])[0]["boxes"]
    assert len(found) == 10
    # The pixel's centre is half a map pixel past the point: 1 and 0.5 pixels.
    torch.testing.assert_close(alone, (rois + torch.tensor([1.0, 0.5, 1.0, 0.5])).expand(len(alone), 4))
    assert clipped[:, 2:].tolist() == [[60, 30]] * len(clipped)
