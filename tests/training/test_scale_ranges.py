"""Valid ranges of SNIP: SNIPER's own anchor labels and proposal targets, rules by hand, empty input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from official_numbers import load_case
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import clip_boxes_to_image, nms

from pipeline.models.heads.overlap import pairwise_iou
from pipeline.training import label_anchors_snip
from pipeline.training.scale_ranges import box_sizes, roi_takes_part, valid_objects

FULL = ["al_00_full", "al_02_full", "al_03_full", "al_08_full", "al_10_full", "al_11_full"]
HALF_OPEN = torch.tensor([0, 0, 1, 1])  # official boxes count inclusive pixels
FILLER = torch.tensor([0.0, 0, 100, 100])


def official_chip(case: str) -> tuple[Tensor, Tensor, Tensor, dict[str, np.ndarray], dict]:
    """Return anchors [a, 4], valid [v, 4] and invalid objects [i, 4] of one official chip, and its outputs."""
    arrays, facts = load_case(f"sniper/anchor_labels/{case}")
    size, stride = facts["chip_size"], facts["feat_stride"]
    boxes = (arrays["gt_boxes_orig"] - np.tile(arrays["crop"][:2], 2)) * arrays["im_scale"]
    boxes = np.clip(np.round(boxes), 0, size - 1)
    large = (boxes[:, 2:] - boxes[:, :2] + 1 >= 10).all(1)
    is_valid = np.isin(arrays["gt_ids"], arrays["valid_ids"])
    official = arrays["fgt_boxes"][arrays["fgt_boxes"][:, 4] >= 0, :4]
    assert boxes[large].tolist() == official.tolist()

    shifts = np.arange(size // stride) * stride
    y, x = np.meshgrid(shifts, shifts, indexing="ij")
    moves = np.stack([x, y, x, y], axis=-1)  # [h, w, 4]
    anchors = torch.from_numpy(arrays["base_anchors"][:, None, None, :] + moves).reshape(-1, 4) + HALF_OPEN
    valid, invalid = (torch.from_numpy(boxes[large & chosen]) + HALF_OPEN for chosen in (is_valid, ~is_valid))
    return anchors, valid, invalid, arrays, facts


@pytest.mark.parametrize("case", FULL)
def test_labels_equal_the_official_ones(case: str) -> None:
    anchors, valid, invalid, arrays, facts = official_chip(case)
    labels = label_anchors_snip(anchors, valid, invalid, (512, 512), border=32)
    assert torch.equal(labels, torch.from_numpy(arrays["labels"]).long().flatten())
    assert [int((labels == kind).sum()) for kind in (1, 0, -1)] == [facts["n_pos"], facts["n_neg"], facts["n_ign"]]
    assert torch.equal(labels, label_anchors_snip(anchors, valid, invalid, (512, 512), border=32, match_zero_iou=False))


@pytest.mark.parametrize("case", ["al_01_sampled", "al_09_sampled"])
def test_sampled_labels_are_a_part_of_ours(case: str) -> None:
    anchors, valid, invalid, arrays, facts = official_chip(case)
    labels = label_anchors_snip(anchors, valid, invalid, (512, 512), border=32)
    sampled = torch.from_numpy(arrays["labels"]).long().flatten()
    assert torch.equal(labels[sampled >= 0], sampled[sampled >= 0])
    positives = min(int((labels == 1).sum()), facts["rpn_batch_size"] // 2)
    assert int((sampled == 1).sum()) == positives == facts["n_pos"]


def test_rules_by_hand() -> None:
    valid, invalid = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[40.0, 40, 50, 50]])
    anchors = torch.tensor(
        [
            [0.0, 0, 10, 5],  # IoU 0.5 with the valid object, which is also its best
            [0, 0, 10, 4.5],  # 0.45: neither object nor background
            [0, 0, 10, 4],  # 0.4: not below the negative threshold
            [0, 0, 10, 3.9],  # 0.39
            [40, 40, 50, 43],  # 0.3 with the invalid object: not above the threshold
            [40, 40, 50, 43.1],
            [90, 90, 100, 100],
            [90, 90, 100, 100.5],  # reaches out of the image
        ]
    )
    assert label_anchors_snip(anchors, valid, invalid, (100, 100)).tolist() == [1, -1, -1, 0, 0, -1, 0, -1]
    assert label_anchors_snip(anchors, valid, invalid, (100, 100), border=0.5)[-1] == 0
    assert label_anchors_snip(anchors, valid[:0], invalid, (100, 100)).tolist() == [0, 0, 0, 0, 0, -1, 0, -1]
    assert label_anchors_snip(anchors, valid[:0], valid[:0], (100, 100)).tolist() == [0] * 7 + [-1]


def test_the_best_anchors_of_an_object_are_positive_and_ties_share() -> None:
    valid = torch.tensor([[10.0, 10, 20, 20]])
    anchors = torch.tensor([[8.0, 8, 12, 12], [18, 18, 22, 22], [18, 18, 23, 23]])
    assert label_anchors_snip(anchors, valid, valid[:0], (100, 100)).tolist() == [1, 1, 0]


def test_invalid_objects_win_over_positives_and_best_anchors() -> None:
    boxes = torch.tensor([[10.0, 10, 20, 20]])
    assert label_anchors_snip(boxes, boxes, boxes + 1, (100, 100)).tolist() == [-1]
    assert label_anchors_snip(boxes, boxes, boxes + 9, (100, 100)).tolist() == [1]


def test_the_image_is_height_by_width() -> None:
    anchors = torch.tensor([[0.0, 0, 30, 10], [0, 0, 10, 30]])
    none = torch.zeros(0, 4)
    assert label_anchors_snip(anchors, none, none, (20, 40)).tolist() == [0, -1]


def test_an_object_that_overlaps_no_anchor() -> None:
    anchors, valid = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]]), torch.tensor([[80.0, 80, 90, 90]])
    assert label_anchors_snip(anchors, valid, valid[:0], (99, 99)).tolist() == [1, 1]
    assert label_anchors_snip(anchors, valid, valid[:0], (99, 99), match_zero_iou=False).tolist() == [0, 0]


def test_empty_anchors() -> None:
    none = torch.zeros(0, 4)
    assert label_anchors_snip(none, none, none, (10, 10)).tolist() == []
    outside = torch.tensor([[-5.0, 0, 5, 5]])
    assert label_anchors_snip(outside, outside, none, (10, 10)).tolist() == [-1]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_invalid_objects_only_ever_ignore(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (40, 2))
    boxes = torch.from_numpy(np.hstack([corners, corners + rng.uniform(1, 40, (40, 2))]))
    anchors, valid, invalid = boxes[:30], boxes[30:34], boxes[34:]
    without = label_anchors_snip(anchors, valid, boxes[:0], (100, 100))
    labels = label_anchors_snip(anchors, valid, invalid, (100, 100))
    ignored = pairwise_iou(anchors, invalid).amax(1) > 0.3
    assert torch.equal(labels, without.masked_fill(ignored, -1))
    order = torch.from_numpy(rng.permutation(30))
    assert torch.equal(label_anchors_snip(anchors[order], valid, invalid, (100, 100)), labels[order])


def test_ranges_are_closed() -> None:
    sizes = torch.tensor([39.999, 40.0, 80.0, 80.001])
    assert valid_objects(sizes, (40, 80)).tolist() == [False, True, True, False]
    assert valid_objects(sizes, (80, None)).tolist() == [False, False, True, True]
    assert valid_objects(sizes[:0], (0, None)).tolist() == []


def test_the_size_of_a_box_is_the_root_of_its_area() -> None:
    assert box_sizes(torch.tensor([[0.0, 0, 8, 2], [3, 3, 3, 9], [5, 5, 1, 1]])).tolist() == [4, 0, 0]


def test_rois_by_hand() -> None:
    rois = torch.tensor([[0.0, 0, 40, 40], [0, 0, 39, 40], [0, 0, 80, 80], [0, 0, 81, 80], [0, 0, 50, 50]])
    labels, matched = torch.tensor([0, 0, 3, 2, 1]), torch.tensor([1, 0, 0, 0, 1])
    target = {"valid_head": torch.tensor([True, False])}
    assert roi_takes_part(rois, labels, matched, target, (40, 80)).tolist() == [True, False, True, False, False]
    kept = roi_takes_part(rois, labels, matched, target, (40, 80), keep_matched_invalid=True)
    assert kept.tolist() == [True, False, True, False, True]


def test_rois_of_an_image_without_objects() -> None:
    rois = torch.tensor([[0.0, 0, 40, 40], [0, 0, 9, 9]])
    none = torch.zeros(2, dtype=torch.int64)
    target = {"valid_head": torch.zeros(0, dtype=torch.bool)}
    assert roi_takes_part(rois, none, none, target, (40, None)).tolist() == [True, False]
    assert roi_takes_part(rois[:0], none[:0], none[:0], target, (40, None)).tolist() == []
    with pytest.raises(ValueError, match="SNIP needs target\\['valid_head'\\]"):
        roi_takes_part(rois, none, none, {"boxes": rois}, (40, None))


@pytest.mark.parametrize("case", ["pt_01", "pt_03"])
def test_rois_of_the_official_operator(case: str) -> None:
    """All of its RoIs are in range; those that are positive on an object out of range are what SNIP leaves out."""
    arrays, facts = load_case(f"sniper/proposal_target/{case}")
    low, high = arrays["valid_range"][0].tolist()
    rois, boxes = (torch.from_numpy(a).double() for a in (arrays["rois"][:, 1:], arrays["gt_boxes"][:, :4]))
    classes = torch.from_numpy(arrays["gt_boxes"][:, 4]).long()
    # The operator's IoU counts inclusive pixels in the intersection only.
    corner = torch.maximum(rois[:, None, :2], boxes[None, :, :2])
    overlap = (torch.minimum(rois[:, None, 2:], boxes[None, :, 2:]) - corner + 1).clamp(min=0).prod(dim=2)
    areas = [(b[:, 2:] - b[:, :2]).prod(dim=1) for b in (rois, boxes)]
    overlap, matched = (overlap / (areas[0][:, None] + areas[1][None] - overlap)).max(dim=1)
    labels = torch.where(overlap > 0.5, classes[matched], 0)
    assert torch.equal(labels, torch.from_numpy(arrays["labels"]).long())

    valid = valid_objects(box_sizes(boxes + HALF_OPEN), (low, high))
    assert int(valid.sum()) == facts["n_valid_gt"]
    target = {"valid_head": valid}
    takes_part = roi_takes_part(rois + HALF_OPEN, labels, matched, target, (low, high), keep_matched_invalid=True)
    assert takes_part.all()
    takes_part = roi_takes_part(rois + HALF_OPEN, labels, matched, target, (low, high))
    assert torch.equal(~takes_part, (labels > 0) & ~valid[matched])


@pytest.mark.parametrize("case", ["pt_01", "pt_03"])
def test_rois_equal_the_official_ones(case: str) -> None:
    """From the official operator's inputs: anchors, decoding, the valid range before NMS, 300 places."""
    arrays, facts = load_case(f"sniper/proposal_target/{case}")
    count, rows, columns = arrays["fg_score"].shape
    stride, places = facts["feature_stride"], facts["post_nms"]
    y, x = np.meshgrid(np.arange(rows) * stride, np.arange(columns) * stride, indexing="ij")
    moves = np.stack([x, y, x, y], axis=-1)
    anchors = torch.from_numpy(arrays["base_anchors"][:, None, None] + moves).reshape(-1, 4).float() + HALF_OPEN
    deltas = torch.from_numpy(arrays["bbox_pred"].astype(np.float32)).view(count, 4, rows, columns)
    deltas = deltas.permute(0, 2, 3, 1).reshape(-1, 4)
    scores = torch.from_numpy(arrays["fg_score"].astype(np.float32)).flatten()

    height, width, _ = arrays["im_info"][0].tolist()
    low, high = arrays["valid_range"][0].tolist()
    boxes = clip_boxes_to_image(BoxCoder((1, 1, 1, 1)).decode(deltas, [anchors])[:, 0], (height, width))
    in_range = valid_objects(box_sizes(boxes), (low, high))
    boxes = boxes[in_range]
    found = boxes[nms(boxes, scores[in_range], facts["rpn_nms"])][:places] - HALF_OPEN
    assert places - len(found) in (0, facts["n_filler_rois"] + 3)  # three objects lie on filler in the second case

    official = torch.from_numpy(arrays["rois"][:, 1:])
    objects = torch.from_numpy(arrays["gt_boxes"][:, :4])
    valid = valid_objects(box_sizes(objects + HALF_OPEN), (low, high))
    assert int(valid.sum()) == facts["n_valid_gt"]
    expected = torch.cat([found, FILLER.repeat(places - len(found), 1)])
    expected[places - len(objects) :][valid] = objects[valid]  # each in the place that its number has from the end
    torch.testing.assert_close(expected, official, rtol=1e-5, atol=1e-5)
