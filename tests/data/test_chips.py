"""Chips: SNIPER's greedy cover on official cases, hand-made covers, and properties of SNIP's sampling."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from official_numbers import load_case
from torch import Tensor

from pipeline.data import greedy_chip_cover, sample_chips
from pipeline.data.chips import assign_to_chips, chip_grid, grid_chips, inside


def half_open(boxes: np.ndarray) -> Tensor:
    return torch.from_numpy(boxes).double() + torch.tensor([0, 0, 1, 1])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("case", ["chips_01", "chips_03", "chips_05", "chips_08"])
def test_greedy_cover_equals_the_official_one(case: str) -> None:
    arrays, facts = load_case(f"sniper/chips/{case}")
    boxes, candidates = half_open(arrays["clipped_boxes"]), half_open(arrays["candidates"][arrays["perm"]])
    chosen = greedy_chip_cover(boxes, candidates)
    assert torch.equal(candidates[chosen], half_open(arrays["py_chips"]))
    assert inside(boxes, candidates[chosen]).numpy().tolist() == arrays["py_covers"].tolist()
    assert inside(boxes, candidates).any(0).tolist() == arrays["coverable"].tolist()
    assert len(chosen) == facts["n_chips_py"]


@pytest.mark.parametrize("case", ["cw_01", "cw_03", "cw_05_neg"])
def test_greedy_cover_gives_the_official_crops(case: str) -> None:
    arrays, facts = load_case(f"sniper/chip_worker/{case}")
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


# SNIPER's grid


@pytest.mark.parametrize("case", ["chips_01", "chips_03", "chips_05", "chips_08"])
def test_the_grid_is_the_official_one_but_for_its_chips_on_the_border(case: str) -> None:
    """The official chips along the right and lower border are a pixel larger."""
    arrays, facts = load_case(f"sniper/chips/{case}")
    height, width, size = facts["height"], facts["width"], facts["chip_size"]
    ours = {tuple(chip) for chip in chip_grid((height, width), size, facts["chip_stride"]).tolist()}
    official = {tuple(chip) for chip in half_open(arrays["candidates"]).tolist()}
    exact = {
        chip for chip in official if (chip[2] - chip[0], chip[3] - chip[1]) == (min(size, width), min(size, height))
    }
    assert exact <= ours
    on_border = {chip for chip in ours - exact if chip[2] == width or chip[3] == height}
    assert ours - exact == on_border
    for chip in official - exact:  # each of the larger ones holds one of ours
        assert bool(inside(torch.tensor([*on_border, *exact]), torch.tensor([chip])).any())


def test_grid_by_hand() -> None:
    lefts = [[0, 0, 40, 40], [30, 0, 70, 40], [60, 0, 100, 40]]
    assert chip_grid((50, 100), 40, 30).tolist() == [*lefts, *([x1, 10, x2, 50] for x1, _, x2, _ in lefts)]
    assert chip_grid((50, 100), 40, 45).tolist()[:3] == [[0, 0, 40, 40], [45, 0, 85, 40], [60, 0, 100, 40]]
    assert chip_grid((40, 40), 40, 7).tolist() == [[0, 0, 40, 40]]
    assert chip_grid((20, 30), 40, 7).tolist() == [[0, 0, 30, 20]]  # an image smaller than a chip is one
    with pytest.raises(ValueError, match="a stride of at least one pixel, got 0"):
        chip_grid((20, 30), 10, 0)


def test_grid_chips_cover_what_the_grid_can_hold_with_few_chips() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [25, 0, 35, 10], [90, 40, 100, 50], [15, 0, 60, 5]])
    for seed in range(5):
        chips = grid_chips(boxes, (50, 100), 40, 30, generator(seed))
        assert inside(boxes, chips).any(0).tolist() == [True, True, True, False]  # the last is longer than a chip
        assert sorted(chips.tolist()) == [[0, 0, 40, 40], [60, 10, 100, 50]]
    assert grid_chips(boxes[:0], (50, 100), 40, 30, generator()).shape == (0, 4)
    assert grid_chips(boxes[3:], (50, 100), 40, 30, generator()).shape == (0, 4)
    beyond = torch.tensor([[95.0, 45, 101, 50.4]])  # a label that sticks out of the image
    assert grid_chips(beyond, (50, 100), 40, 30, generator()).tolist() == [[60, 10, 100, 50]]


def test_which_of_equal_grid_chips_is_taken_is_random_and_repeatable() -> None:
    point = torch.tensor([[500.0, 500, 501, 501]])
    found = [grid_chips(point, (1000, 1000), 300, 10, generator(seed))[0].tolist() for seed in range(20)]
    assert len({tuple(chip) for chip in found}) > 10
    assert found == [grid_chips(point, (1000, 1000), 300, 10, generator(seed))[0].tolist() for seed in range(20)]


@given(data=st.data(), height=st.integers(1, 200), width=st.integers(1, 200), chip=st.integers(1, 120))
@settings(max_examples=60, deadline=None)
def test_a_grid_reaches_every_border_and_never_further(data: st.DataObject, height: int, width: int, chip: int) -> None:
    stride = data.draw(st.integers(1, 80))
    chips = chip_grid((height, width), chip, stride)
    assert (chips[:, 2] - chips[:, 0] == min(chip, width)).all()
    assert (chips[:, 3] - chips[:, 1] == min(chip, height)).all()
    assert (chips[:, :2].amin(0).tolist(), chips[:, 2:].amax(0).tolist()) == ([0, 0], [width, height])
    assert len({tuple(row) for row in chips.tolist()}) == len(chips)
    assert (chips[:, 0].unique().diff() <= stride).all()


@pytest.mark.parametrize("case", ["cw_01", "cw_03", "cw_05_neg"])
def test_boxes_go_to_the_official_chips(case: str) -> None:
    """SNIPER's filters by size, before and after boxes are cut, are applied here; the choice of the chip is ours."""
    arrays, facts = load_case(f"sniper/chip_worker/{case}")
    boxes, crops = (torch.from_numpy(arrays[name]).double() for name in ("boxes", "crop_boxes"))
    sides = boxes[:, 2:] - boxes[:, :2]
    assigned = 0
    for level, (low, high) in enumerate(facts["valid_ranges"]):
        rows = np.flatnonzero(arrays["crop_scale_index"] == level)
        last, high = level == len(facts["valid_ranges"]) - 1, np.inf if high == -1 else high
        chosen = assign_to_chips(boxes, crops[rows])
        shown = torch.minimum(boxes[:, 2:], crops[rows][chosen, 2:]) - torch.maximum(
            boxes[:, :2], crops[rows][chosen, :2]
        )
        size = shown.clamp(min=0).prod(1).sqrt()
        kept = (chosen >= 0) & (size <= high) & ((size >= low) if last else (sides.long().prod(1) < high**2))
        kept &= torch.tensor(last) | (sides >= 2).all(1)
        for place, row in enumerate(rows):
            ours = torch.where(kept & (chosen == place))[0].tolist()
            assert ours == sorted(arrays[f"props_in_chip{row}"].tolist())
            assigned += len(ours)
    assert assigned > len(boxes) / 2


def test_boxes_go_to_the_first_chip_that_shows_most() -> None:
    chips = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [5, 0, 15, 10]])
    boxes = torch.tensor([[0.0, 0, 4, 4], [6, 0, 9, 3], [9, 0, 13, 4], [13, 0, 19, 4], [40, 0, 44, 4], [9.5, 0, 90, 4]])
    assert assign_to_chips(boxes, chips).tolist() == [0, 0, 1, 1, -1, 1]
    assert assign_to_chips(torch.tensor([[14.5, 0, 20, 5]]), chips).tolist() == [-1]  # half a pixel shows
    assert assign_to_chips(boxes, chips[:0]).tolist() == [-1] * 6
    assert assign_to_chips(boxes[:0], chips).tolist() == []


def test_geometry_of_the_papers_size_and_of_a_small_preset() -> None:
    """At 1400x2000 a COCO image is 1400x1867 with chips of 1000; a quarter of that is the mini preset's."""
    objects = torch.tensor([[0.0, 0, 80, 80], [1700, 1300, 1760, 1380], [900, 650, 960, 700]])
    for factor in (1.0, 0.25):
        size, chip = (round(1400 * factor), round(1867 * factor)), round(1000 * factor)
        lowest = torch.tensor([size[1] - chip, size[0] - chip])
        for chips in (
            sample_chips(objects * factor, size, chip, generator(2)),
            grid_chips(objects * factor, size, chip, round(56 * factor), generator(2)),
        ):
            assert len(chips) == 2  # opposite corners of the image never share one, the object between them has either
            assert inside(objects * factor, chips).any(0).all()
            assert ((chips[:, 2:] - chips[:, :2]) == chip).all()
            assert (chips[:, :2] <= lowest).all()
