"""RoIAlign and IoU on a processor: torchvision's numbers, forward and backward, across and beyond the border."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou, roi_align

from pipeline.models.heads import overlap
from pipeline.models.heads.overlap import pairwise_iou
from pipeline.models.heads.roi_pool import MultiLevelRoIAlign
from pipeline.models.heads.sampled_roi_align import sampled_roi_align

STRIDES = (4, 8, 16)


def features(images: int = 2, channels: int = 3) -> list[Tensor]:
    shapes = [(-(-50 // stride), -(-70 // stride)) for stride in STRIDES]
    maps = [torch.randn(images, channels, *shape).to(memory_format=torch.channels_last) for shape in shapes]
    return [level.requires_grad_() for level in maps]


def regions(count: int, images: int = 2) -> Tensor:
    """Return RoIs of which some reach beyond a 70x50 image, and some are empty."""
    corners = torch.rand(count, 2) * torch.tensor([90.0, 70.0]) - 10
    sides = torch.rand(count, 2) * 60
    sides[::7] = 0
    return torch.cat([torch.randint(images, (count, 1)).float(), corners, corners + sides], dim=1)


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 7])
def test_equals_torchvisions_operator_level_by_level(samples, size):
    torch.manual_seed(0)
    maps, rois = features(), regions(40)
    levels = torch.randint(len(STRIDES), (40,))
    found = sampled_roi_align(maps, rois, levels, STRIDES, size, samples)
    slope = torch.randn_like(found)
    gradients = torch.autograd.grad(found, maps, slope)
    for number, (level, stride, gradient) in enumerate(zip(maps, STRIDES, gradients, strict=True)):
        rows = levels == number
        wanted = roi_align(level, rois[rows], size, 1 / stride, samples, aligned=True)
        torch.testing.assert_close(found[rows], wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient, torch.autograd.grad(wanted, level, slope[rows])[0], rtol=1e-4, atol=1e-5)


def test_by_hand():
    level = torch.arange(12.0).reshape(1, 1, 3, 4)  # pixel (y, x) has 4 y + x
    rois = torch.tensor([[0.0, 0.5, 0.5, 2.5, 1.5], [0, -8, -8, -6, -6], [0, 0, 0, 0, 0]])
    found = sampled_roi_align([level], rois, torch.zeros(3, dtype=torch.long), (1,), 1, 1)
    # The first's centre is (1.5, 1), between the centres of rows 0 and 1, on that of column 1; the second lies outside,
    # the third is the corner, half a pixel from its centre.
    assert found.flatten().tolist() == [3.0, 0.0, 0.0]


def test_no_region_and_one_map_for_several_strides():
    pool = MultiLevelRoIAlign((4, 8), 7)
    maps = {"0": features()[0]}
    assert pool(maps, [torch.zeros(0, 4), torch.zeros(0, 4)], []).shape == (0, 3, 7, 7)
    large = torch.tensor([[0.0, 0, 70, 50]])
    wanted = roi_align(maps["0"], [large, large[:0]], 7, 1 / 4, 2, aligned=True)
    torch.testing.assert_close(pool(maps, [large, large[:0]], []), wanted, rtol=1e-4, atol=1e-5)


def test_half_precision_maps_are_sampled_in_single_precision():
    maps, rois = [level.detach().bfloat16() for level in features()], regions(9)
    found = sampled_roi_align(maps, rois, torch.zeros(9, dtype=torch.long), STRIDES, 2, 2)
    assert found.dtype == torch.float32
    wanted = roi_align(maps[0].float(), rois, 2, 1 / 4, 2, aligned=True)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


boxes = st.lists(st.tuples(*[st.floats(-50, 50, width=32)] * 4), max_size=6).map(
    lambda rows: torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
)


@settings(max_examples=100, deadline=None)
@given(boxes, boxes, st.integers(1, 9))
def test_overlaps_are_torchvisions_bit_for_bit_in_blocks_of_any_size(first, second, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "BLOCK", block)
        assert torch.equal(pairwise_iou(first, second).nan_to_num(-1), box_iou(first, second).nan_to_num(-1))


def test_overlap_by_hand():
    first = torch.tensor([[0.0, 0, 4, 4], [0, 0, 0, 0]])
    second = torch.tensor([[2.0, 0, 6, 4], [10, 10, 11, 11], [0, 0, 4, 4]])
    assert pairwise_iou(first, second).tolist() == [[pytest.approx(1 / 3), 0, 1], [0, 0, 0]]
