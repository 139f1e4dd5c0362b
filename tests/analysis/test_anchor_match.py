"""Anchors against boxes: shapes as the public code rounds them, best overlaps by hand and by laying all anchors out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from official_numbers import load_case

from pipeline.analysis.anchor_match import anchor_shapes, best_overlaps, resized


def test_shapes_are_rounded_at_the_base_size() -> None:
    assert anchor_shapes([16, 32]).tolist() == [[23, 12], [46, 24], [16, 16], [32, 32], [11, 22], [22, 44]]
    assert anchor_shapes([]).shape == (0, 2)


def test_shapes_are_those_of_the_official_anchors() -> None:
    base = load_case("sniper/anchor_labels/al_00_full")[0]["base_anchors"]
    sides = base[:, 2:] - base[:, :2] + 1  # inclusive pixels
    assert anchor_shapes([32, 64, 112, 160, 208, 256, 384]).tolist() == sides.tolist()


def test_an_image_is_resized_by_its_short_side_or_its_long_one() -> None:
    boxes = np.array([[10.0, 20, 30, 40]] * 3)
    sizes = np.array([[480.0, 640], [100, 400], [640, 480]])
    found, new = resized(boxes, sizes, 800, 1200)
    assert new.tolist() == [[800, 1067], [300, 1200], [1067, 800]]
    assert found[0].tolist() == pytest.approx([10 * 1067 / 640, 20 * 800 / 480, 30 * 1067 / 640, 40 * 800 / 480])
    assert found[1].tolist() == pytest.approx([30, 60, 90, 120])


def test_best_overlaps_by_hand() -> None:
    sizes = np.array([[64.0, 64]] * 5)
    boxes = np.array(
        [
            [0.0, 0, 16, 16],  # an anchor of the first cell
            [8, 0, 16, 16],  # between two: half of either
            [16, 16, 32, 16],  # two cells wide
            [-16, 0, 16, 16],  # outside, where no anchor's centre is
            [56, 56, 8, 8],  # a quarter of the last cell
        ]
    )
    best = best_overlaps(boxes, sizes, np.array([[16.0, 16.0]]))
    assert best.tolist() == pytest.approx([1, 1 / 3, 1 / 2, 0, 1 / 4])
    wide = best_overlaps(boxes[2:3], sizes[:1], np.array([[16.0, 16.0], [32.0, 16.0]]))
    assert wide.tolist() == pytest.approx([24 / 40])  # centres lie 8 px from the box's
    assert best_overlaps(boxes[:0], sizes[:0], np.array([[16.0, 16.0]])).shape == (0,)


@given(seed=st.integers(0, 10_000), stride=st.sampled_from([4, 8, 16]))
@settings(max_examples=40, deadline=None)
def test_no_laid_out_anchor_overlaps_more(seed: int, stride: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 90, 2)
    shapes = rng.uniform(4, 60, (3, 2))
    corners = rng.uniform(0, 80, (6, 2))
    boxes = np.hstack([corners, rng.uniform(1, 50, (6, 2))])
    x = (np.arange(-(-width // stride)) + 0.5) * stride
    y = (np.arange(-(-height // stride)) + 0.5) * stride
    best = np.zeros(6)
    for w, h in shapes:
        cx, cy = (grid.ravel() for grid in np.meshgrid(x, y))
        across = np.minimum(boxes[:, None, 0] + boxes[:, None, 2], cx + w / 2) - np.maximum(
            boxes[:, None, 0], cx - w / 2
        )
        down = np.minimum(boxes[:, None, 1] + boxes[:, None, 3], cy + h / 2) - np.maximum(boxes[:, None, 1], cy - h / 2)
        overlap = across.clip(0) * down.clip(0)
        best = np.maximum(best, (overlap / (boxes[:, 2:].prod(1)[:, None] + w * h - overlap)).max(1))
    found = best_overlaps(boxes, np.tile([float(height), float(width)], (6, 1)), shapes, stride)
    np.testing.assert_allclose(found, best, atol=1e-12)
