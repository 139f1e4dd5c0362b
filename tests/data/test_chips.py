"""Chips: SNIPER's greedy cover on official cases, hand-made covers, and properties of SNIP's sampling."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.data import greedy_chip_cover, sample_chips
from pipeline.data.chips import inside

FIXTURES = Path(__file__).resolve().parents[2] / ".." / "shared" / "fixtures" / "sniper"


def load(folder: str, case: str) -> tuple[dict[str, np.ndarray], dict]:
    path = FIXTURES / folder / f"{case}.npz"
    if not path.is_file():
        pytest.skip("official chip fixtures are not beside this checkout")
    return dict(np.load(path)), json.loads(path.with_suffix(".json").read_text())


def half_open(boxes: np.ndarray) -> Tensor:
    return torch.from_numpy(boxes).double() + torch.tensor([0, 0, 1, 1])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("case", ["chips_01", "chips_03", "chips_05", "chips_08"])
def test_greedy_cover_equals_the_official_one(case: str) -> None:
    arrays, facts = load("chips", case)
    boxes, candidates = half_open(arrays["clipped_boxes"]), half_open(arrays["candidates"][arrays["perm"]])
    chosen = greedy_chip_cover(boxes, candidates)
    assert torch.equal(candidates[chosen], half_open(arrays["py_chips"]))
    assert inside(boxes, candidates[chosen]).numpy().tolist() == arrays["py_covers"].tolist()
    assert inside(boxes, candidates).any(0).tolist() == arrays["coverable"].tolist()
    assert len(chosen) == facts["n_chips_py"]


@pytest.mark.parametrize("case", ["cw_01", "cw_03", "cw_05_neg"])
def test_greedy_cover_gives_the_official_crops(case: str) -> None:
    arrays, facts = load("chip_worker", case)
    for j in range(facts["n_generator_calls_extractor"]):
        candidates = arrays[f"gen{j}_candidates_shuffled"]
        chosen = greedy_chip_cover(half_open(arrays[f"gen{j}_boxes"]), half_open(candidates))
        rows = arrays["crop_scale_index"] == j
        crops = arrays["crop_boxes"][rows] * arrays["crop_scale"][rows, None]  # in pixels of the resized image
        np.testing.assert_allclose(candidates[chosen], crops, atol=1e-3)


def test_greedy_cover_by_hand() -> None:
    boxes = torch.tensor([[0, 0, 2, 2], [4, 0, 6, 2], [8, 0, 10, 2], [20, 0, 40, 2.0]])
    candidates = torch.tensor([[0, 0, 5, 5], [0, 0, 6, 6], [4, 0, 10, 6], [8, 0, 14, 6.0]])
    assert greedy_chip_cover(boxes, candidates) == [1, 2]  # 1 and 2 hold two each: the first, then the other
    assert greedy_chip_cover(boxes[:0], candidates) == []
    assert greedy_chip_cover(boxes, candidates[:0]) == []
    assert greedy_chip_cover(torch.zeros(0), torch.zeros(0)) == []
    assert greedy_chip_cover(boxes[3:], candidates) == []


def test_a_box_on_the_border_of_a_chip_is_covered() -> None:
    chip = torch.tensor([[10.0, 10, 20, 20]])
    assert greedy_chip_cover(chip, chip) == [0]
    assert greedy_chip_cover(chip + torch.tensor([0, 0, 0.01, 0]), chip) == []


def test_an_image_no_larger_than_a_chip_is_one_chip() -> None:
    boxes = torch.tensor([[0.0, 0, 3, 3], [90, 60, 100, 80]])
    assert sample_chips(boxes, (80, 100), 1000, generator()).tolist() == [[0, 0, 100, 80]]
    assert sample_chips(boxes, (80, 100), 80, generator())[:, [1, 3]].unique().tolist() == [0, 80]


def test_no_objects_no_chips() -> None:
    assert sample_chips(torch.zeros(0, 4), (80, 100), 50, generator()).shape == (0, 4)
    assert sample_chips(torch.tensor([[0.0, 0, 51, 5]]), (80, 100), 50, generator()).shape == (0, 4)  # fits no chip


def test_without_draws_a_chip_is_centred_on_an_object() -> None:
    box = torch.tensor([[40.0, 30, 50, 40]])
    assert sample_chips(box, (200, 100), 20, generator(), draws=0).tolist() == [[35, 25, 55, 45]]
    corner = torch.tensor([[0.0, 0, 10, 10]])
    assert sample_chips(corner, (200, 100), 20, generator(), draws=0).tolist() == [[0, 0, 20, 20]]


def test_draws_snap_to_the_borders() -> None:
    """Corners are uniform over [-c/2, W - c/2] before they are clamped: each border takes c / (2 W) of the draws."""
    point = torch.tensor([[200.0, 100, 200, 100]])  # in the middle: every chip of half the width holds it
    lefts = torch.stack([sample_chips(point, (200, 400), 200, generator(s), draws=1)[0] for s in range(2000)])[:, 0]
    assert float((lefts == 0).float().mean()) == pytest.approx(0.25, abs=0.04)
    assert float((lefts == 200).float().mean()) == pytest.approx(0.25, abs=0.04)


def test_the_same_seed_draws_the_same_chips() -> None:
    boxes = torch.rand(30, 2, generator=generator(1)) * 900
    boxes = torch.cat([boxes, boxes + 40], dim=1)
    first, second = (sample_chips(boxes, (1000, 1000), 300, generator(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first[0], sample_chips(boxes, (1000, 1000), 300, generator(6))[0])


@given(data=st.data(), height=st.integers(1, 300), width=st.integers(1, 300), chip=st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_sampled_chips_lie_inside_and_cover_all_that_fits(
    data: st.DataObject, height: int, width: int, chip: int
) -> None:
    corners = st.tuples(st.floats(0, 0.99), st.floats(0, 0.99), st.floats(0.001, 1), st.floats(0.001, 1))
    rows = data.draw(st.lists(corners, max_size=12))
    boxes = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4) * torch.tensor([width, height, width, height])
    boxes[:, 2:] = torch.minimum(boxes[:, :2] + boxes[:, 2:], torch.tensor([width, height], dtype=torch.float64))
    chips = sample_chips(boxes, (height, width), chip, generator(data.draw(st.integers(0, 9))), draws=5)
    side_x, side_y = min(chip, width), min(chip, height)
    assert torch.equal(chips, chips.round())
    assert ((chips[:, :2] >= 0) & (chips[:, 2:] <= torch.tensor([width, height]))).all()
    assert (chips[:, 2:] - chips[:, :2]).tolist() == [[side_x, side_y]] * len(chips)
    ys, xs = torch.meshgrid(torch.arange(height - side_y + 1), torch.arange(width - side_x + 1), indexing="ij")
    corners = torch.stack([xs.flatten(), ys.flatten()], dim=1).double()
    every_chip = torch.cat([corners, corners + torch.tensor([side_x, side_y])], dim=1)
    coverable = torch.stack([inside(box[None], every_chip).any() for box in boxes]) if rows else torch.zeros(0).bool()
    assert inside(boxes, chips.double()).any(0).tolist() == coverable.tolist()
    covers = inside(boxes, chips.double())
    for row in range(len(chips)):  # each chip holds an object that none before it held
        assert (covers[row] & ~covers[:row].any(0)).any()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_greedy_cover_takes_the_first_maximum_until_nothing_is_coverable(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners, tops = rng.integers(0, 40, (9, 2)), rng.integers(0, 30, (14, 2))
    boxes = torch.from_numpy(np.hstack([corners, corners + rng.integers(1, 12, (9, 2))]))
    candidates = torch.from_numpy(np.hstack([tops, tops + 20]))
    covers = inside(boxes, candidates).numpy()
    left, chosen = np.ones(9, dtype=bool), greedy_chip_cover(boxes, candidates)
    for index in chosen:
        gains = (covers & left).sum(1)
        assert index == int(np.argmax(gains))
        assert gains[index] > 0
        left &= ~covers[index]
    assert not (covers & left).any()
