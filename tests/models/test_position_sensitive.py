"""Position-sensitive pooling by hand, and its three kinds against each other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.heads.position_sensitive import pool_bins, sample_bins, shift_bins

COLUMNS = torch.arange(8.0).expand(1, 4, 8, 8)  # one output, 2x2 bins; a position's value is its column
ROWS = COLUMNS.transpose(2, 3)


def test_every_bin_reads_its_own_map():
    maps = torch.arange(3 * 49.0).view(1, 147, 1, 1).expand(1, 147, 10, 10)
    roi = [torch.tensor([[0.0, 0, 64, 64]])]
    wanted = torch.arange(147.0).view(1, 3, 7, 7)
    assert torch.equal(pool_bins(maps, roi, 7, 1 / 8), wanted)
    torch.testing.assert_close(sample_bins(maps, roi, 7, 1 / 8, 2), wanted)
    torch.testing.assert_close(shift_bins(maps, torch.zeros(1, 6, 7, 7), roi, 7, 1 / 8, 2), wanted)


def test_bins_by_hand():
    """Columns 0 to 3 in two bins have the means 0.5 and 2.5; rounding loses what is less than half a pixel."""
    for x, plain, bilinear in ((0.0, [0.5, 2.5], [0.5, 2.5]), (0.4, [0.5, 2.5], [0.9, 2.9])):
        rois = [torch.tensor([[x, 0.0, x + 4, 4]])]
        assert pool_bins(COLUMNS, rois, 2, 1.0)[0, 0].tolist() == [plain, plain]
        sampled = sample_bins(COLUMNS, rois, 2, 1.0, 2)
        torch.testing.assert_close(sampled[0, 0], torch.tensor([bilinear, bilinear]))


def test_offsets_move_bins_by_shares_of_the_roi():
    """An offset of 1 moves a bin by a tenth of the RoI: 0.4 columns and 0.2 rows of one of 4 x 2."""
    rois = [torch.tensor([[1.0, 2, 5, 4]])]
    offsets = torch.zeros(1, 2, 2, 2)
    offsets[0, 0, 0, 1], offsets[0, 1, 1, 0] = 1.0, -2.0  # x of the upper right bin, y of the lower left
    columns = shift_bins(COLUMNS, offsets, rois, 2, 1.0, 2)
    rows = shift_bins(ROWS, offsets, rois, 2, 1.0, 2)
    torch.testing.assert_close(columns[0, 0], torch.tensor([[1.5, 3.5 + 0.4], [1.5, 3.5]]))
    torch.testing.assert_close(rows[0, 0], torch.tensor([[2.0, 2.0], [3.0 - 0.4, 3.0]]))


def test_offsets_learn():
    offsets = torch.zeros(1, 2, 2, 2, requires_grad=True)
    shift_bins(COLUMNS, offsets, [torch.tensor([[1.2, 2, 5.2, 4]])], 2, 1.0, 2).sum().backward()
    torch.testing.assert_close(offsets.grad[0, 0], torch.full((2, 2), 0.4))  # a slope of 1, times 0.1 of 4 columns
    assert offsets.grad[0, 1].abs().max() < 1e-6


def test_samples_outside_the_map_are_zero():
    maps = torch.ones(1, 4, 8, 8)
    offsets = torch.zeros(1, 2, 2, 2)
    offsets[0, 0, 0, 0] = -100.0
    pooled = shift_bins(maps, offsets, [torch.tensor([[1.0, 1, 5, 5]])], 2, 1.0, 2)
    torch.testing.assert_close(pooled[0, 0], torch.tensor([[0.0, 1], [1, 1]]))


@given(seed=st.integers(0, 10_000), shared=st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_moved_bin_is_the_bin_of_a_moved_roi(seed, shared):
    random = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 3 * 9, 9, 11, generator=random)
    corners = torch.rand(4, 2, generator=random) * 60 - 5
    rois = torch.cat([corners, corners + 2 + torch.rand(4, 2, generator=random) * 60], dim=1)
    offsets = torch.randn(4, 2 if shared else 6, 3, 3, generator=random)
    pooled = shift_bins(maps, offsets, [rois[:3], rois[3:]], 3, 1 / 8, 2)
    for row in range(4):
        image = maps[:1] if row < 3 else maps[1:]
        for output, y, x in ((0, 0, 0), (1, 2, 1), (2, 1, 2)):
            field = 0 if shared else output
            move = offsets[row, 2 * field : 2 * field + 2, y, x] * 0.1 * (rois[row, 2:] - rois[row, :2])
            wanted = sample_bins(image, [(rois[row] + move.repeat(2))[None]], 3, 1 / 8, 2)
            torch.testing.assert_close(pooled[row, output, y, x], wanted[0, output, y, x], rtol=1e-4, atol=1e-5)


def test_no_roi_and_one_position():
    maps = torch.ones(2, 8, 1, 1, requires_grad=True)
    rois = [torch.zeros(0, 4), torch.tensor([[0.0, 0, 1, 1]])]
    assert shift_bins(maps, torch.zeros(1, 4, 2, 2), rois, 2, 1.0, 2).tolist() == [[[[1.0, 1]] * 2] * 2]
    none = shift_bins(maps, torch.zeros(0, 4, 2, 2), [rois[0], rois[0]], 2, 1.0, 2)
    assert none.shape == (0, 2, 2, 2)
    none.sum().backward()
    assert maps.grad.abs().sum() == 0


def test_shapes_that_do_not_fit():
    roi = [torch.tensor([[0.0, 0, 8, 8]])]
    with pytest.raises(ValueError, match="maps need D"):
        shift_bins(torch.zeros(1, 10, 4, 4), torch.zeros(1, 2, 3, 3), roi, 3, 1.0, 2)
    with pytest.raises(ValueError, match="offsets 2 or 2 D, got 18 and 6"):
        shift_bins(torch.zeros(1, 18, 4, 4), torch.zeros(1, 6, 3, 3), roi, 3, 1.0, 2)
    with pytest.raises(ValueError, match="a row for every RoI, got 2 of 1"):
        shift_bins(torch.zeros(1, 18, 4, 4), torch.zeros(2, 2, 3, 3), roi, 3, 1.0, 2)


@pytest.mark.parametrize("bins", [1, 2, 3, 7])
def test_plain_bins_learn_where_they_read(bins):
    """Pooling is linear: a map's pooled sum is its product with the gradient (torchvision's own fails this on CPUs)."""
    generator = torch.Generator().manual_seed(bins)
    for _ in range(5):
        corners = torch.rand(4, 2, generator=generator) * 70 - 4  # out of the map of 72 x 64 pixels too
        boxes = torch.cat([corners, corners + torch.rand(4, 2, generator=generator) * 60], dim=1)
        rois = [boxes[:3], boxes[3:]]
        maps = torch.randn(2, 2 * bins**2, 8, 9, generator=generator, requires_grad=True)
        weights = torch.randn(4, 2, bins, bins, generator=generator)
        (gradient,) = torch.autograd.grad((pool_bins(maps, rois, bins, 1 / 8) * weights).sum(), maps)
        other = torch.randn(maps.shape, generator=generator)
        pooled = (pool_bins(other, rois, bins, 1 / 8) * weights).sum()
        assert (gradient * other).sum().item() == pytest.approx(pooled.item(), rel=1e-4, abs=1e-4)


def test_the_gradient_of_a_plain_bin_by_hand():
    """A RoI from position (2, 1) to (6, 5): its lower left bin holds four positions, a quarter each."""
    maps = torch.zeros(1, 4, 8, 8, requires_grad=True)
    pooled = pool_bins(maps, [torch.tensor([[16.0, 8, 48, 40]])], 2, 1 / 8)
    pooled[0, 0, 1, 0].backward()
    wanted = torch.zeros(8, 8)
    wanted[3:5, 2:4] = 0.25
    assert torch.equal(maps.grad[0, 2], wanted)
    assert maps.grad[0, [0, 1, 3]].abs().sum() == 0
