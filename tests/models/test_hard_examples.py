"""Online hard example mining by hand."""

from __future__ import annotations

import torch

from pipeline.models.heads.hard_examples import hardest


def test_the_largest_losses_of_each_image():
    losses = torch.tensor([0.1, 3.0, 2.0, 9.0, 8.0, 7.0])
    assert hardest(losses, [3, 3], 2).tolist() == [1, 2, 3, 4]
    assert hardest(losses, [3, 0, 3], 1).tolist() == [1, 3]


def test_of_equal_losses_the_first_count():
    assert hardest(torch.tensor([1.0, 2.0, 1.0, 2.0, 2.0]), [5], 2).tolist() == [1, 3]
    assert hardest(torch.zeros(300), [300], 128).tolist() == list(range(128))


def test_fewer_than_the_limit_or_none():
    losses = torch.tensor([1.0, 5.0, 2.0])
    assert hardest(losses, [2, 1], 128).tolist() == [0, 1, 2]
    assert hardest(losses, [2, 1], None).tolist() == [0, 1, 2]
    assert hardest(losses[:0], [0, 0], 128).tolist() == []
