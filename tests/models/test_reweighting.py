"""DST's control, table 1: the weight of small objects' regression loss by value, and equal losses in a training."""

from __future__ import annotations

import pytest
import tiny
import torch

from pipeline.models import build_detector
from pipeline.models.heads.reweighting import LEAST_SHARE, reweighted, small_loss_weight
from pipeline.models.normaliser import set_normaliser


@pytest.mark.parametrize(
    ("share", "weight"),
    [
        *((0.1, 9.0), (0.2, 4.0), (0.25, 3.0), (0.5, 1.0), (0.8, 1.0), (1.0, 1.0)),
        *((LEAST_SHARE, 999.0), (1e-9, 1000.0), (0.0, 1000.0)),
    ],
)
def test_the_weight_by_value(share, weight):
    assert small_loss_weight(torch.tensor(share)).item() == pytest.approx(weight, rel=1e-4)


@pytest.mark.parametrize(("small", "large", "wanted"), [(1.0, 9.0, 9.0), (5.0, 5.0, 5.0), (9.0, 1.0, 9.0)])
def test_small_objects_loss_comes_to_equal_the_others(small, large, wanted):
    losses, areas = torch.tensor([small, large / 2, large / 2]), torch.tensor([1023.0, 1024.0, 5000.0])
    assert reweighted(losses, areas, 1024.0).tolist() == pytest.approx([wanted, large / 2, large / 2])
    assert reweighted(losses, areas, None) is losses


def test_nothing_small_nothing_else_and_nothing_at_all_are_finite():
    losses, areas = torch.tensor([1.0, 2.0]), torch.tensor([5.0, 6.0])
    assert reweighted(losses, areas, 1.0).tolist() == [1.0, 2.0]
    assert reweighted(losses, areas, 10.0).tolist() == [1.0, 2.0]
    assert reweighted(torch.zeros(2), areas, 5.5).tolist() == [0.0, 0.0]
    assert reweighted(torch.zeros(0), torch.zeros(0), 10.0).tolist() == []


def test_a_training_of_the_experiment_has_equal_losses_in_every_step_that_has_small_objects():
    """Steps of SGD on one scene of a small and two large objects; the log of shares says what was amplified."""
    torch.manual_seed(0)
    spec = tiny.spec("dst_frcnn_r50_fpn_1x_small_loss_reweight")
    model = build_detector(spec, 3).train()
    set_normaliser(model, lambda count, least=1.0: 1.0)  # losses are sums
    heads = model.roi_heads
    assert heads.small_below == pytest.approx(3.2**2)
    heads.small_below = 400.0
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    boxes = torch.tensor([[4.0, 6, 40, 50], [50, 10, 66, 26], [44, 20, 90, 60]])
    shares = []
    for _ in range(6):
        losses = model([torch.rand(3, 64, 96)], [{"boxes": boxes, "labels": torch.tensor([1, 2, 3])}])
        found, small = model.positives, model.positives.areas < 400
        parts = [found.regression[rows].sum().item() for rows in (small, ~small)]
        shares.append(parts[0] / sum(parts))
        wanted = parts[1] + max(parts[0], min(parts[1], 999 * parts[0]))
        assert losses["loss_box_reg"].item() == pytest.approx(wanted, rel=1e-3)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert any(LEAST_SHARE < share < 0.5 for share in shares), shares
