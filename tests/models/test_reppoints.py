"""RepPoints: boxes of point sets, who starts from which object, and the three losses, by hand; and its contract."""

import math

import pytest
import tiny
import torch
from batches import model
from torch import Tensor, nn

from pipeline.models.detectors.reppoints import PointConv, RepPointsHead
from pipeline.models.heads.point_sets import match_positions, moment_boxes, place

GRID = torch.cartesian_prod(torch.arange(-1.0, 2), torch.arange(-1.0, 2)).flatten()  # (y, x) of a 3x3 kernel's taps
STD = math.sqrt(6 / 8)  # of -1, 0, 1, three times each, over n - 1


def test_a_grid_of_points_by_hand():
    points = torch.tensor([2.0, 5.0]).repeat(9) + GRID * torch.tensor([2.0, 1.0]).repeat(9)  # centre y 2, x 5
    box = moment_boxes(points, torch.zeros(2))
    torch.testing.assert_close(box, torch.tensor([5 - STD, 2 - 2 * STD, 5 + STD, 2 + 2 * STD]))
    box = moment_boxes(points, torch.tensor([2.0, 0.5]).log())  # x, y
    torch.testing.assert_close(box, torch.tensor([5 - 2 * STD, 2 - STD, 5 + 2 * STD, 2 + STD]))


def test_the_spread_learns_a_hundred_times_slower():
    points, spread = GRID.clone().requires_grad_(), torch.zeros(2, requires_grad=True)
    moment_boxes(points, spread)[2].backward()  # x2 = mean + std exp(spread)
    torch.testing.assert_close(spread.grad, torch.tensor([0.01 * STD, 0.0]))
    x = GRID.view(9, 2)[:, 1]
    torch.testing.assert_close(points.grad.view(9, 2), torch.stack([torch.zeros(9), 1 / 9 + x / (8 * STD)], dim=1))


def test_coinciding_points_have_a_finite_gradient():
    points = torch.zeros(18, requires_grad=True)
    box = moment_boxes(points, torch.zeros(2))
    assert box.tolist() == [0, 0, 0, 0]
    box.sum().backward()
    assert points.grad.isfinite().all()


def test_places_are_in_pixels():
    boxes = torch.tensor([[[-1.0, -2, 1, 2], [0, 0, 3, 3]]])
    placed = place(boxes, torch.tensor([[8.0, 16], [64, 32]]), torch.tensor([8.0, 32]))
    assert placed.tolist() == [[[0, 0, 16, 32], [64, 32, 160, 128]]]


def first_positives(boxes: list[list[float]], base: float = 4.0) -> dict[tuple[int, int, int], int]:
    """Return x, y and stride of positions with an object, on strides 8, 16 and 32 of a 64x64 image."""
    grid = [(x, y, s) for s in (8, 16, 32) for y in range(0, 64, s) for x in range(0, 64, s)]
    shapes = [(64 // s, 64 // s) for s in (8, 16, 32)]
    matched = match_positions(shapes, [8, 16, 32], torch.tensor(boxes).reshape(-1, 4), base).tolist()
    return {place: number for place, number in zip(grid, matched, strict=True) if number >= 0}


def test_an_objects_size_chooses_its_level():
    assert first_positives([[0, 0, 32, 32]]) == {(16, 16, 8): 0}  # 32 / 4 = 2^3
    assert first_positives([[1, 1, 63, 63]]) == {(32, 32, 8): 0}  # 62 / 4 is not yet 2^4
    assert first_positives([[0, 0, 64, 64]]) == {(32, 32, 16): 0}
    assert first_positives([[0, 30, 128, 62]]) == {(48, 48, 16): 0}  # mean of log2 32 and log2 8
    assert first_positives([[30, 30, 34, 34]]) == {(32, 32, 8): 0}  # smaller than every level
    assert first_positives([[-500, -500, 564, 564]]) == {(32, 32, 32): 0}  # larger
    assert first_positives([[0, 0, 32, 32]], base=1.0) == {(0, 0, 32): 0}  # a preset's; first of four corners
    # Centre (19, 13): x is 3 of 30 wide, y 3 of 18 high away from (16, 16); (24, 16) is 5 of 30 away in x.
    assert first_positives([[4, 4, 34, 22]]) == {(16, 16, 8): 0}


def test_a_position_goes_to_the_nearest_of_its_objects():
    near, far = [0.0, 0, 32, 33], [0.0, 0, 32, 36]  # centres (16, 16.5) and (16, 18)
    assert first_positives([far, near]) == {(16, 16, 8): 1}
    assert first_positives([near, far]) == {(16, 16, 8): 0}
    assert first_positives([near, near]) == {(16, 16, 8): 0}
    assert first_positives([]) == {}


def head() -> RepPointsHead:
    return RepPointsHead(8, 2, tiny.PRESET.model, 1.0)


def outputs(points: Tensor, refined: Tensor, logit: float = 0.0) -> dict[str, list[Tensor]]:
    """Return outputs of a 32x32 image, all positions with the same points [18]."""
    sides = (4, 2, 1, 1, 1)
    return {
        "logits": [torch.full((1, 2, side, side), logit) for side in sides],
        "initial": [points.view(1, 18, 1, 1).expand(1, 18, side, side).clone().requires_grad_() for side in sides],
        "refined": [refined.view(1, 18, 1, 1).expand(1, 18, side, side).clone().requires_grad_() for side in sides],
    }


def test_three_losses_by_hand():
    # All boxes are 32 pixels wide on stride 8: half a width is 2 strides.
    points = GRID * 2 / STD
    found = outputs(points, points + torch.tensor([0.0, 1.0]).repeat(9))  # the refined boxes lie 8 pixels to the right
    target = {"boxes": torch.tensor([[0.0, 0, 32, 32]]), "labels": torch.tensor([2])}
    model = head()
    losses = model.losses(found, None, [target])
    # One first positive, (16, 16) of stride 8, exactly right. Refined: its box, and those of (8, 16), (24, 16),
    # (16, 8), (16, 24) with IoU 24 / 40, pass .5; (8, 8) has 9/23, below .4.
    assert losses["loss_box_init"].item() == pytest.approx(0, abs=1e-5)
    # x1 and x2 of each are (dx + 8) / 32 off, y1 and y2 dy / 32: smooth L1 with beta .11 is |d| - .055 from .11 on.
    off = [(0, 0), (-8, 0), (8, 0), (0, -8), (0, 8)]
    expected = sum(2 * max(abs(d) / 32 - 0.055, 0) for dx, dy in off for d in (dx + 8, dy)) / 5
    assert losses["loss_box_reg"].item() == pytest.approx(expected, rel=1e-4)
    # Every logit is 0: .25 * .5^2 * ln 2 for a wanted class, .75 * .5^2 * ln 2 for each other one; 23 positions.
    focal = (5 * 0.25 + (2 * 23 - 5) * 0.75) * 0.25 * math.log(2) / 5
    assert losses["loss_classifier"].item() == pytest.approx(focal, rel=1e-4)
    assert model.positives.areas.tolist() == [1024.0] * 5
    assert model.positives.regression.sum().item() == pytest.approx(5 * expected, rel=1e-4)
    assert model.positives.classification.tolist() == pytest.approx([0.25 * math.log(2)] * 5)


def test_the_first_boxes_loss_has_half_the_weight():
    points = GRID * 2 / STD + torch.tensor([0.0, 1.0]).repeat(9)
    target = {"boxes": torch.tensor([[0.0, 0, 32, 32]]), "labels": torch.tensor([1])}
    found = outputs(points, points)
    losses = head().losses(found, None, [target])
    assert losses["loss_box_init"].item() == pytest.approx(0.5 * 2 * (8 / 32 - 0.055), rel=1e-4)
    losses["loss_box_init"].backward()
    moved = found["initial"][0].grad.abs().sum(dim=1)[0]
    assert torch.where(moved > 0)[0].tolist() == [2]  # the position (16, 16) alone
    assert torch.where(moved > 0)[1].tolist() == [2]


def test_ignored_positions_have_no_focal_loss():
    # Boxes of 32x32 at (8, 8) shifts overlap by 9/23; a target that is 24 wide leaves more between .4 and .5.
    points = GRID * 2 / STD
    target = {"boxes": torch.tensor([[4.0, 0, 28, 32]]), "labels": torch.tensor([1])}
    model = head()
    losses = model.losses(outputs(points, points), None, [target])
    # IoU with boxes around (x, y): (16, 16) .75; (8 or 24, 16) 20/36 = .556; (16, 8 or 24) 18 * 32 ... 576/1216 = .474.
    assert len(model.positives.areas) == 3
    focal = (3 * 0.25 + (2 * (23 - 2) - 3) * 0.75) * 0.25 * math.log(2) / 3
    assert losses["loss_classifier"].item() == pytest.approx(focal, rel=1e-4)


def test_points_on_the_grid_make_a_plain_convolution():
    torch.manual_seed(0)
    layer, x = PointConv(8), torch.randn(2, 8, 5, 6)
    points = GRID.view(1, 18, 1, 1).expand(2, 18, 5, 6)
    plain = nn.functional.conv2d(x, layer.weight, padding=1).relu()
    torch.testing.assert_close(layer(x, points), plain, rtol=1e-4, atol=1e-5)
    shifted = points + torch.tensor([0.0, 1.0]).repeat(9).view(1, 18, 1, 1)  # one to the right
    torch.testing.assert_close(layer(x, shifted)[..., 1:-2], plain[..., 2:-1], rtol=1e-4, atol=1e-5)


def test_first_points_learn_a_tenth_from_what_reads_them():
    torch.manual_seed(0)
    model = head()
    bias = model.initial[2].bias
    level = [torch.rand(1, 8, 6, 6)]
    found = model(level)
    found["logits"][0].sum().backward()
    through = bias.grad.clone()
    # The same, with the points as they are: ten times the gradient.
    features = model.regression(level[0])
    points = model.initial(features)
    bias.grad = None
    model.logits(model.classify_points(model.classification(level[0]), points)).sum().backward()
    torch.testing.assert_close(through, bias.grad / 10, rtol=1e-3, atol=1e-8)
    assert through.abs().sum() > 0
    bias.grad = None
    model(level)["refined"][0].sum().backward()
    points = model.initial(model.regression(level[0]))
    refined, bias_grad = model.refined(model.refine_points(model.regression(level[0]), points)), bias.grad.clone()
    bias.grad = None
    refined.sum().backward()
    torch.testing.assert_close(bias_grad, bias.grad / 10, rtol=1e-3, atol=1e-8)  # none through the sum itself


def test_lengths_follow_the_presets_factor():
    assert model("reppoints").head.base == pytest.approx(0.4)


def test_a_detection_is_the_refined_box_in_pixels():
    model = head()
    found = outputs(GRID, GRID * 2 / STD, logit=-9.0)
    found["logits"][1][0, 1, 1, 0] = 3.0  # stride 16, x 0, y 16: half a side is 32
    level = {name: values[1].detach() for name, values in found.items()}
    boxes, scores, classes = model.level_candidates(1, level)
    torch.testing.assert_close(boxes, torch.tensor([[-32.0, -16, 32, 48]]))
    assert scores.tolist() == pytest.approx([1 / (1 + math.exp(-3))])
    assert classes.tolist() == [1]
