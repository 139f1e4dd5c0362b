"""Resizing, flipping and cropping, by hand and by identities."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import transforms

whole = st.integers(0, 200)
box = st.tuples(whole, whole, st.integers(1, 200), st.integers(1, 200))


def boxes_of(rows: list[tuple[int, int, int, int]]) -> torch.Tensor:
    """Return xyxy boxes [n, 4] of (x, y, w, h) rows."""
    return torch.tensor([[x, y, x + w, y + h] for x, y, w, h in rows], dtype=torch.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("size", "short", "long", "expected"),
    [
        ((480, 640), 800, 1333, (800, 1067)),
        ((640, 480), 800, 1333, (1067, 800)),
        ((300, 1000), 800, 1333, (400, 1333)),  # the long side decides
        ((333, 500), 800, 1200, (799, 1200)),  # 1200 / 500 = 2.4 is less than 800 / 333
        ((1, 1), 80, 100, (80, 80)),
        ((1, 5000), 80, 100, (1, 100)),  # never without pixels
        ((800, 1333), 800, 1333, (800, 1333)),
    ],
)
def test_scaled_sizes(size, short, long, expected):
    assert transforms.scaled_size(*size, transforms.fitting_scale(*size, short, long)) == expected


def test_resized_values():
    image = torch.tensor([[[0, 255], [0, 255]]], dtype=torch.uint8).repeat(3, 1, 1)
    enlarged = transforms.resize(image, (2, 4))
    # Half-pixel centres: 0, 1/4, 3/4, 1 of the way.
    torch.testing.assert_close(enlarged[0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))
    shrunk = transforms.resize(torch.tensor([[[0, 255] * 8] * 16] * 3, dtype=torch.uint8), (4, 4))
    assert shrunk.shape == (3, 4, 4)
    assert (shrunk - 0.5).abs().max() < 0.08  # antialiased stripes turn grey
    same = transforms.resize(image, (2, 2))
    assert same.tolist() == [[[0.0, 1.0], [0.0, 1.0]]] * 3
    assert image.max() == 255  # the source is left alone


def test_resized_boxes_exactly():
    boxes = torch.tensor([[0.0, 0, 640, 480], [64, 48, 128, 96]])
    # Each axis by its own ratio of whole pixels, so the full box stays the full image.
    assert transforms.resize_boxes(boxes, (480, 640), (240, 321)).tolist() == [
        [0.0, 0.0, 321.0, 240.0],
        [pytest.approx(32.1), 24.0, pytest.approx(64.2), 48.0],
    ]
    assert transforms.resize_boxes(torch.zeros(0, 4), (4, 4), (8, 8)).shape == (0, 4)


@settings(max_examples=30)
@given(st.lists(box, max_size=4), st.integers(1, 30), st.integers(1, 500))
def test_flipping_twice_changes_nothing(rows, height, width):
    boxes, image = boxes_of(rows), torch.arange(3 * height * width).reshape(3, height, width).float()
    once, once_boxes = transforms.flip(image, boxes)
    twice, twice_boxes = transforms.flip(once, once_boxes)
    assert torch.equal(twice, image)
    assert torch.equal(twice_boxes, boxes)
    assert torch.equal(transforms.areas(once_boxes), transforms.areas(boxes))


def test_flipped_box_and_pixels_by_hand():
    image = torch.arange(6).reshape(1, 1, 6)
    boxes = torch.tensor([[1.0, 0, 3, 1]])
    flipped, moved = transforms.flip(image, boxes)
    assert flipped.flatten().tolist() == [5, 4, 3, 2, 1, 0]
    assert moved.tolist() == [[3.0, 0, 5, 1]]
    assert boxes.tolist() == [[1.0, 0, 3, 1]]  # the source is left alone
    # Half-open boxes hold the same pixels: 1 and 2.
    assert sorted(flipped[0, 0, 3:5].tolist()) == [1, 2]


def test_cropped_boxes_and_visible_shares_by_hand():
    image = torch.arange(100).reshape(1, 10, 10)
    boxes = torch.tensor(
        [
            [3.0, 4, 5, 6],  # inside
            [0.0, 4, 4, 8],  # 4x4, of which the right 2x4 shows
            [6.0, 0, 10, 6],  # 4x6, of which 2x4 shows: a third
            [0.0, 0, 10, 10],  # holds the window: 6x5 of 100
            [8.0, 0, 9, 9],  # touches the window's edge: nothing shows
        ]
    )
    cropped, clipped, visible = transforms.crop(image, boxes, (2, 2, 8, 7))
    assert cropped.shape == (1, 5, 6)
    assert cropped[0, 0, 0] == 22
    expected = [[1, 2, 3, 4], [0, 2, 2, 5], [4, 0, 6, 4], [0, 0, 6, 5], [6, 0, 6, 5]]
    assert clipped.tolist() == [[float(side) for side in row] for row in expected]
    torch.testing.assert_close(visible, torch.tensor([1.0, 6 / 16, 8 / 24, 0.3, 0.0]))


def test_crop_without_boxes_and_of_boxes_without_area():
    _, clipped, visible = transforms.crop(torch.zeros(3, 4, 4), torch.zeros(0, 4), (0, 0, 2, 2))
    assert (clipped.shape, visible.shape) == ((0, 4), (0,))
    _, _, visible = transforms.crop(torch.zeros(3, 4, 4), torch.tensor([[1.0, 1, 1, 1]]), (0, 0, 2, 2))
    assert visible.tolist() == [0.0]


def test_masks_take_the_value_at_a_pixels_centre():
    mask = torch.tensor([[[0, 1, 1, 0, 0, 0]]], dtype=torch.uint8)
    # Centres of 4 pixels over 6: 0.75, 2.25, 3.75, 5.25.
    assert transforms.resample_masks(mask, (1, 4)).tolist() == [[[0, 1, 0, 0]]]
    assert transforms.resample_masks(mask, (2, 12))[0, 1].tolist() == [0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert torch.equal(transforms.resample_masks(mask, (1, 6)), mask)
    assert transforms.resample_masks(mask[:0], (3, 4)).shape == (0, 3, 4)
    assert transforms.resample_masks(mask, (1, 4)).dtype == torch.uint8


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60))
def test_resampled_masks_equal_torchs_exact_nearest(height, width, new_height, new_width):
    masks = torch.randint(2, (2, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows, columns = torch.meshgrid(torch.arange(new_height), torch.arange(new_width), indexing="ij")
    centre_y, centre_x = (rows.double() + 0.5) * height / new_height, (columns.double() + 0.5) * width / new_width
    expected = masks[:, centre_y.floor().long().clamp(max=height - 1), centre_x.floor().long().clamp(max=width - 1)]
    assert torch.equal(transforms.resample_masks(masks, (new_height, new_width)), expected)


def test_windows_and_mirrors_of_masks_are_those_of_the_resized_mask():
    masks = torch.randint(2, (3, 20, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    whole = transforms.resample_masks(masks, (33, 47))
    assert torch.equal(transforms.resample_masks(masks, (33, 47), flipped=True), whole.flip(-1))
    window = (5, 3, 40, 20)
    assert torch.equal(transforms.resample_masks(masks, (33, 47), window), whole[:, 3:20, 5:40])
    assert torch.equal(transforms.resample_masks(masks, (33, 47), window, True), whole[:, 3:20, 5:40].flip(-1))


def test_areas_and_sides():
    boxes = torch.tensor([[0.0, 0, 4, 9], [5, 5, 3, 9], [1, 1, 1, 1]])
    assert transforms.areas(boxes).tolist() == [36.0, 0.0, 0.0]  # inside out has no area
    assert transforms.sides(boxes).tolist() == [6.0, 0.0, 0.0]


def test_generators_depend_on_their_whole_key():
    def draw(*key: int) -> float:
        return torch.rand(1, generator=transforms.generator(*key)).item()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    keys = [(1, 2, 3), (1, 2, 4), (1, 3, 2), (12, 3), (1, 23), (0, 1, 2, 3), (2**31, 2, 3)]
    assert len({draw(*key) for key in keys}) == len(keys)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (40, 30), (23, 60), (90, 110), (60, 6), (169, 1)])
@pytest.mark.parametrize("old", [(1, 1), (1, 5), (6, 1), (23, 60), (60, 6)])
def test_resizing_does_not_depend_on_the_memory_layout(old, size):
    planes = torch.randint(0, 256, (3, *old), dtype=torch.uint8)
    pixels = planes.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    shrinks = size[0] < old[0] or size[1] < old[1]
    wanted = F.interpolate(planes[None] / 255, size, mode="bilinear", antialias=shrinks)[0]
    assert torch.equal(transforms.resize(planes, size), wanted)
    assert torch.equal(transforms.resize(pixels, size), wanted)
    assert torch.equal(transforms.resize(planes[:, :, :1], size), transforms.resize(pixels[:, :, :1], size))
