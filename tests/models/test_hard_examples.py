"""Online hard example mining by hand."""

import pytest
import torch

from pipeline.models.heads.hard_examples import hardest

SIX, THREE = [0.1, 3.0, 2.0, 9.0, 8.0, 7.0], [1.0, 5.0, 2.0]


@pytest.mark.parametrize(
    ("losses", "counts", "limit", "expected"),
    [
        (SIX, [3, 3], 2, [1, 2, 3, 4]),  # of each image
        (SIX, [3, 0, 3], 1, [1, 3]),
        ([1.0, 2.0, 1.0, 2.0, 2.0], [5], 2, [1, 3]),  # of equal losses the first
        ([0.0] * 300, [300], 128, list(range(128))),
        (THREE, [2, 1], 128, [0, 1, 2]),
        (THREE, [2, 1], None, [0, 1, 2]),
        ([], [0, 0], 128, []),
    ],
)
def test_the_largest_losses(losses, counts, limit, expected):
    assert hardest(torch.tensor(losses), counts, limit).tolist() == expected
