"""Mask R-CNN: mask targets and losses worked out by hand, and its counts."""

import math

import pytest
import torch
from batches import full, target
from torch import Tensor, nn

from pipeline.models.heads.mask_branch import MaskBranch, add_masks, check_masks, crop_masks
from pipeline.models.heads.roi_heads import SampledRoIs
from pipeline.models.heads.roi_pool import MultiLevelRoIAlign
from pipeline.models.measure import measure


def test_a_mask_is_cropped_by_each_roi():
    masks = torch.zeros(2, 16, 16, dtype=torch.uint8)
    masks[0, 4:12, 4:8] = 1  # rows 4 to 11, columns 4 to 7
    masks[1] = 1
    boxes = torch.tensor([[4.0, 4, 12, 12], [0, 4, 8, 12], [4, 4, 12, 12], [4, 0, 8, 8]])
    found = crop_masks(masks, torch.tensor([0, 0, 1, 0]), boxes, 4)
    left, right = [[1.0, 1, 0, 0]] * 4, [[0.0, 0, 1, 1]] * 4
    assert found.tolist() == [left, right, [[1.0] * 4] * 4, [[0.0] * 4] * 2 + [[1.0] * 4] * 2]
    assert found.dtype == torch.float32


def test_a_bin_is_on_where_the_mask_covers_half_of_it():
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, 0, :5] = masks[0, 1, :5] = True
    # Bins of 2x2 pixels: the third holds one column of two, the first row of bins is wholly inside.
    assert crop_masks(masks, torch.tensor([0]), torch.tensor([[0.0, 0, 8, 8]]), 4)[0].tolist() == [
        [1, 1, 1, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_enlarged_masks_are_not_shifted():
    # One pixel of 4 becomes seven bins of 28: an unaligned crop puts the edges half a pixel, 3.5 bins, to the left.
    masks = torch.zeros(1, 9, 9, dtype=torch.uint8)
    masks[0, :, 3:5] = 1
    (found,) = crop_masks(masks, torch.tensor([0]), torch.tensor([[2.0, 2, 6, 6]]), 28)
    assert torch.equal(found, torch.tensor([0.0] * 7 + [1] * 14 + [0] * 7).expand(28, 28))


def test_no_positive_gives_no_target():
    masks = torch.zeros(0, 8, 8, dtype=torch.uint8)
    assert crop_masks(masks, torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), 28).shape == (0, 28, 28)


class FixedBranch(MaskBranch):
    """A branch whose network answers with given logits."""

    def __init__(self, logits: Tensor) -> None:
        nn.Module.__init__(self)
        self.logits = logits

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor]) -> Tensor:
        self.boxes = boxes
        return self.logits


def sampled(boxes: list[Tensor], matched: list[list[int]], labels: list[list[int]]) -> SampledRoIs:
    """Return sampled RoIs; their box targets and areas are of no account here."""
    matched, labels = ([torch.tensor(row) for row in rows] for rows in (matched, labels))
    return SampledRoIs(boxes, matched, labels, [], [], [torch.where(row > 0)[0] for row in labels])


def test_the_loss_reads_the_objects_class_of_positive_rois_only():
    logits = torch.full((2, 3, 2, 2), 50.0)
    logits[0, 1] = 0.0  # first positive, class 2
    logits[1, 2] = math.log(3)  # second positive, class 3
    logits.requires_grad_()
    branch = FixedBranch(logits)
    first, second = target([0, 0, 4, 4], size=(8, 8)), target([0, 0, 2, 2], [4, 4, 8, 8], size=(8, 8))
    boxes = [torch.tensor([[0.0, 0, 8, 8], [1, 1, 2, 2]]), torch.tensor([[0.0, 0, 1, 1], [2, 4, 6, 8]])]
    loss = branch.loss({}, sampled(boxes, [[0, 0], [1, 1]], [[2, 0], [0, 3]]), [first, second])
    assert [rois.tolist() for rois in branch.boxes] == [[[0, 0, 8, 8]], [[2, 4, 6, 8]]]
    # First: every pixel at probability 1/2. Second: 3/4 everywhere, right half on.
    wanted = (4 * math.log(2) + 2 * math.log(4 / 3) + 2 * math.log(4)) / 8
    assert loss.item() == pytest.approx(wanted)
    loss.backward()
    expected = torch.zeros(2, 3, 2, 2)
    expected[0, 1] = torch.tensor([[-0.5, 0.5], [0.5, 0.5]]) / 8
    expected[1, 2] = torch.tensor([[0.75, -0.25], [0.75, -0.25]]) / 8
    torch.testing.assert_close(logits.grad, expected)


def test_without_positives_the_loss_is_zero_and_has_gradients():
    logits = torch.zeros(0, 3, 2, 2, requires_grad=True)
    rois = sampled([torch.tensor([[0.0, 0, 8, 8]])], [[0]], [[0]])
    loss = FixedBranch(logits).loss({}, rois, [target(size=(8, 8))])
    assert loss.item() == 0
    loss.backward()
    assert logits.grad is not None


def test_targets_without_masks_are_named():
    found = target([0, 0, 4, 4], size=(8, 8))
    without = {name: found[name] for name in ("boxes", "labels")}
    with pytest.raises(ValueError, match=r"image 1 has \['boxes', 'labels'\]"):
        check_masks([found, without])
    with pytest.raises(ValueError, match=r"got \[2, 8, 8\] for 1 boxes in image 0"):
        check_masks([found | {"masks": torch.zeros(2, 8, 8)}])


def test_detections_carry_the_mean_mask_of_their_class():
    first = torch.zeros(3, 2, 1, 1)
    first[0, 1], first[1, 0], first[2, 1] = math.log(3), -math.log(3), math.log(3)  # 3/4, 1/4, 3/4
    second = torch.zeros(3, 2, 1, 1)  # 1/2
    found = [
        {"boxes": torch.zeros(1, 4), "labels": torch.tensor([2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
        {"boxes": torch.zeros(2, 4), "labels": torch.tensor([1, 2])},
    ]
    one = add_masks([FixedBranch(first)], {}, found)
    assert [row["mask_probs"].flatten().tolist() for row in one] == [
        pytest.approx([0.75]),
        [],
        pytest.approx([0.25, 0.75]),
    ]
    assert [tuple(row["mask_probs"].shape) for row in one] == [(1, 1, 1, 1), (0, 1, 1, 1), (2, 1, 1, 1)]
    two = add_masks([FixedBranch(first), FixedBranch(second)], {}, found)
    assert two[2]["mask_probs"].flatten().tolist() == pytest.approx([0.375, 0.625])


def test_the_branch_is_the_papers():
    branch = MaskBranch(MultiLevelRoIAlign((4, 8), 14), 6, 5)
    kinds = [type(part).__name__ for part in branch.modules() if not list(part.children())]
    convolution = ["Conv2d", "ReLU"]
    assert kinds == ["MultiLevelRoIAlign", *convolution * 4, "ConvTranspose2d", "ReLU", "Conv2d"]
    features = {"0": torch.rand(1, 6, 16, 16), "1": torch.rand(1, 6, 8, 8)}
    assert branch(features, [torch.tensor([[0.0, 0, 30, 30]] * 3)]).shape == (3, 5, 28, 28)


def test_multiply_adds_of_the_branch_are_those_of_a_hundred_rois():
    added = measure(full("mask_rcnn"))["macs"] - measure(full("faster_rcnn"))["macs"]
    convolutions, deconvolution, predictor = 4 * 256 * 256 * 9 * 14**2, 256 * 256 * 4 * 14**2, 256 * 80 * 28**2
    assert added == 100 * (convolutions + deconvolution + predictor)
