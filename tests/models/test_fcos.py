"""FCOS: assignment, centerness, losses and decoding by hand, and the parameters of its published size."""

import math

import pytest
import tiny
import torch
from batches import full, image_list, target
from torch import Tensor

from pipeline.models.detectors.fcos import FCOSHead, assign_points, centerness_of, iou_loss
from pipeline.models.measure import measure

LN2 = math.log(2)
NEVER = -30.0  # a logit whose sigmoid costs nothing as background, and 30 / 4 as an object


def head(factor: float = 1.0) -> FCOSHead:
    torch.manual_seed(0)
    return FCOSHead(16, 2, tiny.PRESET.model, factor)


def outputs() -> dict[str, list[Tensor]]:
    """Return outputs without a score: 2x2 positions on P3, at 4 and 12, and one on each other level."""
    sides = (2, 1, 1, 1, 1)
    return {
        "logits": [torch.full((1, 2, side, side), NEVER) for side in sides],
        "centerness": [torch.zeros(1, 1, side, side) for side in sides],
        "distances": [torch.ones(1, 4, side, side) for side in sides],
    }


def test_the_published_size():
    size = measure(full("fcos"))
    # By hand. ResNet-50 without its classifier, laterals and outputs of three levels, P6 and P7 on P5; two towers of
    # four convolutions with biases and norms, 80 classes, centerness, four distances, five scales.
    trunk = 25_557_032 - 2048 * 1000 - 1000
    pyramid = (512 + 1024 + 2048) * 256 + 3 * 256 + 3 * (9 * 256**2 + 256) + 2 * (9 * 256**2 + 256)
    heads = 8 * (9 * 256**2 + 256 + 512) + (80 + 1 + 4) * (9 * 256 + 1) + 5
    assert size["parameters_total"] == trunk + pyramid + heads == 32_297_370
    # Without the affine parameters of norms, which MMDetection's FCOS freezes: 32.02 M, as its tools print.
    norms = 53_120 - 704
    assert size["parameters_trainable"] - norms == pytest.approx(32.02e6, abs=5e3)


WIDE, INF = [[0.0, 0, 100, 20]], math.inf
NESTED = [[0.0, 0, 30, 30], [2, 2, 12, 12], [1, 1, 20, 20]]


@pytest.mark.parametrize(
    ("points", "boxes", "low", "high", "expected"),
    [
        ([[5, 5], [0, 5], [10, 5], [5, 20], [9.9, 19.9]], [[0.0, 0, 10, 20]], 0, 64, [0, -1, -1, -1, 0]),  # inside
        ([[5, 5], [15, 15], [25, 25]], NESTED, 0, 64, [1, 2, 0]),  # the smallest object wins
        ([[36, 10], [35.9, 10], [50, 10]], WIDE, 0, 64, [0, -1, 0]),  # longest distances: 64, 64.1, 50
        ([[36, 10], [35.9, 10], [50, 10]], WIDE, 64, 128, [0, 0, -1]),
        ([[600, 5]], [[0.0, 0, 1300, 10]], 512, INF, [0]),
        ([[5, 5]], [], 0, 64, [-1]),
        ([[5, 5]], [[5.0, 0, 5, 9]], 0, 64, [-1]),  # no area
        ([[5, 5]], [[0.0, 0, 10, 10], [0, 0, 200, 200]], 128, 256, [1]),  # the smaller does not suit the level
    ],
)
def test_points_of_objects(points, boxes, low, high, expected):
    limits = (torch.full((len(points),), float(limit)) for limit in (low, high))
    found = assign_points(torch.tensor(points).float(), *limits, torch.tensor(boxes).reshape(-1, 4))
    assert found.tolist() == expected


def test_ranges_follow_the_presets_factor():
    assert head(0.1).ranges == [0, 6.4, 12.8, 25.6, 51.2, math.inf]
    assert head(1.0).ranges == [0, 64, 128, 256, 512, math.inf]


def test_centerness_by_hand():
    sides = torch.tensor([[4.0, 4, 6, 16], [4, 12, 6, 8], [5, 7, 5, 7]])
    assert centerness_of(sides).tolist() == pytest.approx([(1 / 6) ** 0.5, 2 / 3, 1.0])


def test_iou_loss_by_hand():
    wanted = torch.tensor([[4.0, 4, 6, 16]] * 4)  # 10 x 20
    distances = torch.tensor([[4.0, 4, 6, 16], [2, 4, 3, 16], [4, 4, 6, 36], [8, 2, 2, 2]])
    # Half the width; twice the height; (4 + 2) x (2 + 2) common to 10 x 20 and 10 x 4.
    expected = [0.0, LN2, LN2, -math.log(24 / (200 + 40 - 24))]
    assert iou_loss(distances, wanted).tolist() == pytest.approx(expected, abs=1e-6)
    assert iou_loss(torch.zeros(1, 4), wanted[:1]).item() == pytest.approx(-math.log(1e-6))


def test_losses_by_hand():
    found = outputs()
    found["logits"][0][0, :, 0, 0] = 0.0  # at (4, 4): both classes a half
    found["distances"][0][0, :, 1, 0] = torch.tensor([4.0, 12, 6, 8])  # at (4, 12): exact
    model = head()
    losses = model.losses(found, image_list(), [target([0.0, 0, 10, 20], label=2)])
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_centerness"}
    positive, negative, missed = 0.25 * 0.25 * LN2, 0.75 * 0.25 * LN2, 0.25 * 30
    assert losses["loss_classifier"].item() == pytest.approx((positive + negative + missed) / 2)
    first, second = (1 / 6) ** 0.5, 2 / 3  # centerness; the first box is 2 x 2 in 10 x 20
    assert losses["loss_box_reg"].item() == pytest.approx(math.log(50) * first / (first + second))
    assert losses["loss_centerness"].item() == pytest.approx(LN2)  # whatever is wanted, at a half
    assert model.positives.regression.tolist() == pytest.approx([math.log(50) * first, 0.0], abs=1e-5)
    assert model.positives.classification.tolist() == pytest.approx([positive + negative, missed])
    assert model.positives.areas.tolist() == [200.0, 200.0]


def test_centerness_loss_is_cross_entropy():
    found = outputs()
    found["centerness"][0][0, 0, :, 0] = torch.tensor([0.0, 1.0])
    losses = head().losses(found, image_list(), [target([0.0, 0, 10, 20], label=2)])
    p = 1 / (1 + math.exp(-1))
    second = -(2 / 3 * math.log(p) + 1 / 3 * math.log(1 - p))
    assert losses["loss_centerness"].item() == pytest.approx((LN2 + second) / 2)


def test_every_level_takes_its_objects():
    model = head()
    # Around (8, 8), the position of P4, and (64, 64), that of P7; the small one's other positions are of P3.
    model.losses(outputs(), image_list(), [target([-80, -80, 90, 90], [-500, -500, 600, 600])])
    assert model.positives.areas.tolist() == [170.0**2, 1100.0**2]


def test_the_start_knows_nothing():
    found = head()([torch.zeros(1, 16, 2, 2) for _ in range(5)])
    assert found["logits"][0].sigmoid().unique().tolist() == pytest.approx([0.01])
    assert found["distances"][4].unique().tolist() == [1.0]
    assert found["centerness"][2].unique().tolist() == [0.0]


def test_each_level_has_its_scale_and_no_distance_is_infinite():
    model = head()
    model.distances.bias.data = torch.tensor([1.0, 2.0, -1.0, 400.0])
    model.scales.data = torch.tensor([1.0, 0.5, 2.0, 1.0, 1.0])
    model.distances.weight.data.zero_()
    found = model([torch.zeros(1, 16, 1, 1) for _ in range(5)])["distances"]
    for level, scale in ((0, 1.0), (1, 0.5), (2, 2.0)):
        wanted = [math.exp(scale), math.exp(2 * scale), math.exp(-scale), math.exp(9)]
        assert found[level].flatten().tolist() == pytest.approx(wanted)


def test_decoding_by_hand():
    found = outputs()
    found["logits"][0][0, 1, 1, 0] = 2.0  # class 1 at (4, 12)
    found["centerness"][0][0, 0, 1, 0] = 1.0
    found["distances"][0][0, :, 1, 0] = torch.tensor([3.0, 5.0, 7.0, 11.0])
    (result,) = head().detect(found, image_list())
    assert result["boxes"].tolist() == [[1.0, 7.0, 11.0, 23.0]]
    assert result["labels"].tolist() == [2]
    score = 1 / (1 + math.exp(-2)) / (1 + math.exp(-1))
    assert result["scores"].tolist() == pytest.approx([score**0.5])


def test_the_threshold_is_on_class_scores_alone():
    found = outputs()
    found["centerness"][0][:] = -6.0  # a factor of 0.0025 under every score
    found["logits"][0][0, 0] = torch.tensor([[-2.9, NEVER], [NEVER, -3.0]])  # 0.0522 and 0.0474
    (result,) = head().detect(found, image_list())
    assert result["scores"].tolist() == pytest.approx([(1 / (1 + math.exp(2.9)) / (1 + math.exp(6))) ** 0.5])


def test_the_strides_positions_and_suppression():
    found = outputs()
    for level, logit in zip((1, 4), (1.0, 0.5), strict=True):
        found["logits"][level][0, 0] = logit
        found["distances"][level][:] = 6.0
    found["logits"][0][0, 0, 0, :] = torch.tensor([0.4, 0.3])  # (4, 4) and (12, 4): IoU 12 / 22 < 0.6
    found["distances"][0][:] = 10.0
    found["distances"][0][:, 1] = found["distances"][0][:, 3] = 4.0
    (result,) = head().detect(found, image_list(128, 128))
    torch.testing.assert_close(
        result["boxes"], torch.tensor([[2.0, 2, 14, 14], [58, 58, 70, 70], [0, 0, 14, 8], [2, 0, 22, 8]])
    )
