"""Soft-NMS: official outputs in order, hand-computed decays, properties, and speed."""

import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from official_numbers import load_case
from torchvision.ops import nms

from pipeline.evaluation import soft_nms

SETTINGS = {
    "linear_Nt0.3": {"method": "linear", "iou_threshold": 0.3},
    "linear_Nt0.5": {"method": "linear", "iou_threshold": 0.5},
    "gauss_s0.5": {"sigma": 0.5},
    "gauss_s0.55": {"sigma": 0.55},
    "gauss_s0.5_thr0.05": {"sigma": 0.5, "score_threshold": 0.05},
    "hard_Nt0.5": {"method": "hard", "iou_threshold": 0.5},
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", ["01", "02", "05", "07"])
def test_official_cases_in_pick_order(case, setting):
    arrays, _ = load_case(f"sniper/soft_nms/softnms_{case}")
    detections = torch.from_numpy(arrays["dets"])
    boxes = detections[:, :4] + torch.tensor([0.0, 0, 1, 1])  # inclusive pixels to half-open
    kept, scores = soft_nms(boxes, detections[:, 4], **SETTINGS[setting])
    expected = torch.from_numpy(arrays[setting])
    assert torch.equal(detections[kept, :4], expected[:, :4])
    torch.testing.assert_close(scores, expected[:, 4], rtol=1e-5, atol=1e-6)


# 10x10 boxes: the second shifted by 5 (IoU 50/150 = 1/3 with the first), the third by 8 (20/180 = 1/9 with the first,
# 70/130 = 7/13 with the second), the fourth far away
BOXES = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [8, 0, 18, 10], [50, 50, 60, 60]])
SCORES = torch.tensor([0.9, 0.8, 0.6, 0.7])
SECOND, THIRD = 0.8 * math.exp(-2 / 9), 0.6 * math.exp(-2 / 81)  # after the first's Gaussian


@pytest.mark.parametrize(
    ("options", "order", "decayed"),
    [
        ({}, [0, 3, 1, 2], [0.9, 0.7, SECOND, THIRD * math.exp(-2 * 49 / 169)]),
        # 0.8 * 2/3 falls behind 0.6, which 1/9 leaves alone
        ({"method": "linear"}, [0, 3, 2, 1], [0.9, 0.7, 0.6, 0.8 * 2 / 3 * 6 / 13]),
        ({"method": "hard", "score_threshold": 0.0}, [0, 3, 2], [0.9, 0.7, 0.6]),
        ({"method": "hard", "score_threshold": 0.001}, [0, 3, 2], [0.9, 0.7, 0.6]),
    ],
)
def test_hand_computed(options, order, decayed):
    kept, scores = soft_nms(BOXES, SCORES, **options)
    assert kept.tolist() == order
    assert scores.tolist() == pytest.approx(decayed)


def test_a_low_start_score_falls_only_by_an_overlap():
    scores = torch.tensor([0.9, 0.0005, 0.6, 0.0005])
    kept, _ = soft_nms(BOXES, scores)
    assert kept.tolist() == [0, 2, 3]


def test_touching_boxes_do_not_overlap():
    boxes = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [0, 10, 10, 20]])
    _, scores = soft_nms(boxes, torch.tensor([0.9, 0.8, 0.7]))
    assert scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_and_one(dtype):
    kept, scores = soft_nms(torch.zeros(0, 4, dtype=dtype), torch.zeros(0, dtype=dtype))
    assert (kept.shape, kept.dtype, scores.dtype) == ((0,), torch.int64, dtype)
    kept, scores = soft_nms(BOXES[:1].to(dtype), SCORES[:1].to(dtype))
    assert (kept.tolist(), scores.tolist()) == ([0], SCORES[:1].to(dtype).tolist())


def test_degenerate_and_equal_boxes():
    boxes = torch.tensor([[5.0, 5, 5, 5], [0, 0, 10, 10], [0, 0, 10, 10]])
    kept, scores = soft_nms(boxes, torch.tensor([0.5, 0.9, 0.9]))
    assert kept.tolist() == [1, 0, 2]
    assert scores.tolist() == pytest.approx([0.9, 0.5, 0.9 * math.exp(-2)])


def test_wrong_use():
    with pytest.raises(ValueError, match="did you mean 'gaussian'"):
        soft_nms(BOXES, SCORES, method="gausian")
    with pytest.raises(ValueError, match="sigma must be above 0"):
        soft_nms(BOXES, SCORES, sigma=0)
    with pytest.raises(ValueError, match=r"got \[4, 4\] and \[3\]"):
        soft_nms(BOXES, SCORES[:3])


def random_boxes(n, seed):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(n, 2, generator=generator) * 100
    sides = torch.rand(n, 2, generator=generator) * 40 + 1
    return torch.cat([corners, corners + sides], dim=1), torch.rand(n, generator=generator)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(0, 10**6), st.sampled_from(["gaussian", "linear"]))
def test_scores_fall_in_pick_order_and_only_decay(n, seed, method):
    boxes, scores = random_boxes(n, seed)
    kept, decayed = soft_nms(boxes, scores, method=method)
    assert len(set(kept.tolist())) == len(kept)
    assert (decayed[1:] <= decayed[:-1]).all()
    assert (decayed <= scores[kept]).all()
    if n:
        assert kept[0] == scores.argmax()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(0, 10**6))
def test_hard_is_plain_nms(n, seed):
    boxes, scores = random_boxes(n, seed)
    kept, _ = soft_nms(boxes, scores, method="hard", iou_threshold=0.4, score_threshold=0.0)
    assert kept.tolist() == nms(boxes, scores, 0.4).tolist()


def test_a_thousand_boxes_are_fast():
    boxes, scores = random_boxes(1000, 0)
    start = time.process_time()
    soft_nms(boxes, scores)
    assert time.process_time() - start < 1.0


def test_picks_that_cannot_matter_are_left_out():
    kept, scores = soft_nms(BOXES, SCORES, limit=2)
    assert kept.tolist() == [0, 3]
    assert scores.tolist() == pytest.approx([0.9, 0.7])
    assert soft_nms(BOXES, SCORES, least=SECOND)[0].tolist() == [0, 3, 1]
    assert soft_nms(BOXES, SCORES, least=0.69)[0].tolist() == [0, 3]
    assert soft_nms(BOXES, SCORES, least=0.95)[0].tolist() == []
    far = torch.tensor([[0.0, 0, 1, 1], [5, 5, 6, 6], [9, 9, 10, 10]])
    assert soft_nms(far, torch.full((3,), 0.5), limit=1)[0].tolist() == [0, 1, 2]  # all tie with the last
