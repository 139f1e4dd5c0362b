"""RetinaNet against printed parameter counts, and its anchors, targets, losses and decoding worked out by hand."""

import math

import pytest
import tiny
import torch
from batches import full, image_list, target
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from pipeline.models.detectors.retinanet import RetinaNetHead
from pipeline.models.heads import anchors as anchor_file
from pipeline.models.heads.anchors import BACKGROUND, IGNORED, cell_anchors, match_anchors
from pipeline.models.measure import measure

LN2 = math.log(2)
NEVER = -30.0  # a logit whose sigmoid costs nothing as background, and 30 / 4 as an object


def head(box_loss: str = "l1", factor: float = 1.0) -> RetinaNetHead:
    torch.manual_seed(0)
    return RetinaNetHead(8, 2, tiny.PRESET.model, factor, box_loss)


def one_position() -> dict[str, list[Tensor]]:
    """Return outputs of one position on each level, whose anchors lie around the origin: 45 in all, no score."""
    return {
        "logits": [torch.full((1, 18, 1, 1), NEVER) for _ in range(5)],
        "deltas": [torch.zeros(1, 36, 1, 1) for _ in range(5)],
    }


def test_the_printed_parameters():
    size = measure(full("retinanet"))
    assert (size["parameters_total"], size["parameters_trainable"]) == (37_968_692, 37_743_348)
    # By hand. The trunk of ResNet-50 and the pyramid, then four outputs on five levels of the same two towers.
    positions = 100 * 168 + 50 * 84 + 25 * 42 + 13 * 21 + 7 * 11
    trunk = (4_089_184_256 - 2048 * 1000) * (800 * 1344) // (224 * 224)
    lateral = 100 * 168 * 512 * 256 + 50 * 84 * 1024 * 256 + 25 * 42 * 2048 * 256
    smooth = (100 * 168 + 50 * 84 + 25 * 42) * 9 * 256 * 256
    coarse = 13 * 21 * 9 * 2048 * 256 + 7 * 11 * 9 * 256 * 256
    heads = positions * 9 * 256 * (8 * 256 + 9 * 80 + 9 * 4)
    assert size["macs"] == trunk + lateral + smooth + coarse + heads


def test_nine_anchors_of_three_octaves():
    # Ratios are height over width: 0.5 is lying. A side of 32 at ratio 0.5 is 45.25 x 22.63.
    cells = torch.tensor(cell_anchors((32, 64), (0.5, 1.0, 2.0)))
    wide, flat = 32 * 2**0.5 / 2, 32 / 2**0.5 / 2
    torch.testing.assert_close(cells[0], torch.tensor([-wide, -flat, wide, flat]))
    assert cells[2].tolist() == [-16, -16, 16, 16]
    torch.testing.assert_close(cells[5], torch.tensor([-flat, -wide, flat, wide]) * 2)
    sides = (head().cells[..., 2:] - head().cells[..., :2]).prod(dim=-1).sqrt()
    wanted = torch.tensor([32.0, 40.3175, 50.7968] * 3) * 2.0 ** torch.arange(5)[:, None]
    torch.testing.assert_close(sides, wanted)
    torch.testing.assert_close(head(factor=0.1).cells, head().cells / 10)


def test_anchors_go_position_by_position():
    found = head().anchors(1, torch.zeros(1, 18, 2, 3))  # stride 16
    assert found.shape == (54, 4)
    centres = (found[:, :2] + found[:, 2:]) / 2
    wanted = [[0, 0], [16, 0], [32, 0], [0, 16], [16, 16], [32, 16]]
    torch.testing.assert_close(centres[::9], torch.tensor(wanted, dtype=torch.float32))
    assert found[9 * 5 + 3].tolist() == [0, -16, 64, 48]  # ratio 1, a side of 64


def test_thresholds_and_best_anchors():
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20], [0, 0, 10, 24], [0, 0, 10, 26], [50, 50, 58, 51]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [50, 50, 58, 58]])
    # IoU with the first object: 1, 0.5, 0.4167, 0.385; the last anchor has 0.125 with the second, its best.
    assert match_anchors(anchors, boxes).tolist() == [0, 0, IGNORED, BACKGROUND, 1]


def test_a_best_anchor_goes_to_its_own_best_object():
    anchors = torch.tensor([[0.0, 0, 10, 10]])
    boxes = torch.tensor([[8.0, 8, 18, 18], [2, 2, 10, 10]])  # IoU 0.0204 and 0.64
    assert match_anchors(anchors, boxes).tolist() == [1]


def test_an_object_that_no_anchor_overlaps_has_none():
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    assert match_anchors(anchors, torch.tensor([[50.0, 50, 60, 60]])).tolist() == [BACKGROUND, BACKGROUND]
    assert match_anchors(anchors, torch.zeros(0, 4)).tolist() == [BACKGROUND, BACKGROUND]
    assert match_anchors(anchors, torch.tensor([[5.0, 5, 5, 9]])).tolist() == [BACKGROUND, BACKGROUND]  # no area


def test_matching_equals_torchvisions(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(400, 2, generator=generator) * 80
    boxes = torch.cat([corners, corners + 4 + 30 * torch.rand(400, 2, generator=generator)], dim=1)
    anchors, objects = boxes[:370], boxes[370:]
    wanted = Matcher(0.5, 0.4, allow_low_quality_matches=True)(box_iou(objects, anchors))
    assert {BACKGROUND, IGNORED} < set(wanted.tolist())
    assert torch.equal(match_anchors(anchors, objects), wanted)
    monkeypatch.setattr(anchor_file, "CHUNK", 7)  # crowds are matched in parts
    assert torch.equal(match_anchors(anchors, objects), wanted)


# The object is the anchor of P3 with ratio 1 and the first octave (number 3). In order: anchors 0 and 1 (lying, IoU
# 0.55 and 0.52), 3 (1), 4 (second octave, 0.63), 6 and 7 (standing); the third octave has 0.397.
SQUARE = [-16.0, -16, 16, 16]
L1 = [LN2, LN2, 0.0, 2 * LN2 / 3, LN2, LN2]


def test_losses_by_hand():
    outputs = one_position()
    outputs["logits"][0][0, 6] = 0.0  # anchor 3, class 0: the object's
    outputs["logits"][0][0, 7] = 0.0  # class 1: not
    model = head()
    losses = model.losses(outputs, image_list(), [target(SQUARE)])
    assert set(losses) == {"loss_classifier", "loss_box_reg"}
    positive, negative = 0.25 * 0.25 * LN2, 0.75 * 0.25 * LN2
    missed = 0.25 * 30  # of each other positive
    assert losses["loss_classifier"].item() == pytest.approx((positive + negative + 5 * missed) / 6)
    assert losses["loss_box_reg"].item() == pytest.approx(sum(L1) / 6, rel=1e-5)
    found = model.positives
    assert found.regression.tolist() == pytest.approx(L1, abs=1e-5)
    assert found.classification.tolist() == pytest.approx([missed] * 2 + [positive + negative] + [missed] * 3)
    assert found.areas.tolist() == [1024.0] * 6


def test_smooth_l1_is_a_mean_over_coordinates():
    outputs = one_position()
    outputs["deltas"][0][0, 12] = 0.1  # anchor 3, x: inside the quadratic part
    model = head("smooth_l1")
    losses = model.losses(outputs, image_list(), [target(SQUARE)])
    wanted = [value - 0.11 for value in L1]  # two coordinates, each beyond 0.11
    wanted[2] = 0.5 * 0.1**2 / 0.11
    assert model.positives.regression.tolist() == pytest.approx(wanted, abs=1e-5)
    assert losses["loss_box_reg"].item() == pytest.approx(sum(wanted) / (6 * 4), rel=1e-5)


def test_anchors_between_the_thresholds_cost_nothing():
    outputs = one_position()
    for anchor in (1, 4, 7):  # IoU 0.48 with the object, where 0, 3 and 6 have 0.54, 0.77 and 0.54
        outputs["logits"][0][0, 2 * anchor : 2 * anchor + 2] = 5.0
    losses = head().losses(outputs, image_list(), [target([-14.0, -14, 14, 14], label=2)])
    assert losses["loss_classifier"].item() == pytest.approx(0.25 * 30)
    outputs["logits"][0][0, 4] = 5.0  # anchor 2 is background
    p = 1 / (1 + math.exp(-5))
    more = head().losses(outputs, image_list(), [target([-14.0, -14, 14, 14], label=2)])
    assert more["loss_classifier"].item() - 7.5 == pytest.approx(0.75 * p**2 * -math.log(1 - p) / 3, rel=1e-4)


def test_both_images_share_one_number_of_positives():
    outputs = {name: [level.repeat(2, 1, 1, 1) for level in levels] for name, levels in one_position().items()}
    model = head()
    batch = ImageList(torch.zeros(2, 3, 64, 64), [(64, 64)] * 2)
    losses = model.losses(outputs, batch, [target(SQUARE), target([-14.0, -14, 14, 14])])
    assert losses["loss_classifier"].item() == pytest.approx(7.5)
    assert model.positives.areas.tolist() == [1024.0] * 6 + [784.0] * 3
    assert losses["loss_box_reg"].item() == pytest.approx(float(model.positives.regression.sum()) / 9)


def test_the_start_knows_nothing():
    model = head()
    outputs = model([torch.zeros(1, 8, 2, 2) for _ in range(5)])
    assert torch.cat([level.flatten() for level in outputs["logits"]]).sigmoid().unique().tolist() == pytest.approx(
        [0.01]
    )
    assert all(bool((level == 0).all()) for level in outputs["deltas"])


def test_decoding_by_hand():
    outputs = {
        "logits": [torch.full((1, 18, 2, 3), NEVER) for _ in range(5)],
        "deltas": [torch.full((1, 36, 2, 3), 9.0) for _ in range(5)],
    }
    outputs["logits"][0][0, 2 * 3 + 1, 1, 2] = 2.0  # class 1 of anchor 3 at x = 16, y = 8: (0, -8, 32, 24)
    outputs["deltas"][0][0, 12:16, 1, 2] = torch.tensor([0.25, 0.0, 0.0, -LN2])  # 8 pixels right, half the height
    (found,) = head().detect(outputs, image_list())
    assert found["scores"].tolist() == pytest.approx([1 / (1 + math.exp(-2))])
    assert found["labels"].tolist() == [2]
    torch.testing.assert_close(found["boxes"], torch.tensor([[8.0, 0, 40, 16]]))


def test_suppression_limits_and_threshold():
    outputs = one_position()
    scores = outputs["logits"][0][0, :, 0, 0]
    scores[6], scores[8] = 3.0, 2.0  # class 0, anchors 3 and 4: IoU 0.63 before clipping, in the image 256 / 406
    scores[9] = 1.0  # class 1 of anchor 4 stays
    scores[0] = -2.95  # under 0.05
    (found,) = head().detect(outputs, image_list())
    assert found["labels"].tolist() == [1, 2]
    assert found["boxes"][0].tolist() == [0, 0, 16, 16]
    many = {name: [level.repeat(1, 1, 20, 20) for level in levels] for name, levels in one_position().items()}
    many["logits"][0][:] = torch.randn(1, 18, 20, 20, generator=torch.Generator().manual_seed(0))
    (found,) = head().detect(many, image_list(160, 160))
    assert len(found["scores"]) == tiny.PRESET.model.detections
    best = many["logits"][0].sigmoid().flatten().topk(tiny.PRESET.model.rpn_pre_nms_test).values
    assert found["scores"][0] == best[0]
    assert found["scores"][-1] >= best[-1]
