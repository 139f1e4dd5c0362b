"""Detectors without proposals: first stride, norms and box loss as preset and recipe have them."""

import pytest
import tiny
import torch
from batches import DENSE, SHAPES, learn, model, pictures, spec, target, with_size
from torch import nn

from pipeline.models import build_detector


def test_recipes_choose_the_box_loss():
    found = spec("retinanet")
    assert build_detector(found, 3).head.box_loss == "l1"
    assert build_detector(tiny.changed(found, recipe={"box_loss": "smooth_l1"}), 3).head.box_loss == "smooth_l1"


def fine_model(family: str) -> nn.Module:
    torch.manual_seed(0)
    return build_detector(with_size(spec(family), dense_stride=4, dense_norm=True), 3)


@pytest.mark.parametrize("family", DENSE)
def test_a_preset_may_start_at_stride_4_with_normalised_towers(family):
    found, published = fine_model(family), model(family)
    assert found.head.strides == [4, 8, 16, 32, 64]
    assert published.head.strides == [8, 16, 32, 64, 128]
    levels = list(found.backbone(torch.rand(1, 3, 128, 192)).values())
    assert [tuple(level.shape[-2:]) for level in levels] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    for part in (found.head.classification, found.head.regression):
        kinds = [type(layer).__name__ for layer in part]
        assert kinds == ["Conv2d", "GroupNorm", "ReLU"] * (3 if family == "reppoints" else 4)
        spread = part[0].weight.std().item() * (part[0].in_channels * 9 / 2) ** 0.5
        assert spread == pytest.approx(1, rel=0.1)  # He's start: the gain of a ReLU
    learn(found, pictures(SHAPES), [target([8.0, 8, 24, 24]), target()])


def test_levels_keep_the_sizes_of_their_objects_from_stride_4_on():
    fine, published = fine_model("retinanet").head, model("retinanet").head
    torch.testing.assert_close(fine.cells, published.cells)
    anchors = fine.anchors(0, torch.zeros(1, 27, 2, 3)).reshape(2, 3, 9, 4)  # where their features lie
    centres = (anchors[..., :2] + anchors[..., 2:]) / 2
    torch.testing.assert_close(centres[1, 2], torch.tensor([[8.0, 4.0]]).expand(9, 2))
    fine, published = fine_model("fcos").head, model("fcos").head
    assert fine.ranges == published.ranges
    fine, published = fine_model("reppoints").head, model("reppoints").head
    assert fine.base * fine.strides[0] == published.base * published.strides[0]
