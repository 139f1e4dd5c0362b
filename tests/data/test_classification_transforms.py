"""Crops, colours and reduced resolutions of classifiers, by value."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.labelled import transforms
from pipeline.data.transforms import generator


def ramp(height, width):
    """Return an image whose red is the column and whose green is the row."""
    x = torch.zeros(3, height, width, dtype=torch.uint8)
    x[0], x[1] = torch.arange(width), torch.arange(height)[:, None]
    return x


def test_a_window_of_the_whole_image_keeps_it():
    image = ramp(8, 8)
    assert torch.equal(transforms.resized_crop(image, 8, (1.0, 1.0), (1.0, 1.0), generator(0)), image)


def test_windows_have_the_wanted_area_and_aspect(monkeypatch):
    seen = []
    monkeypatch.setattr(transforms, "resize", lambda image, size: seen.append(image.shape[-2:]) or image)
    for number in range(400):
        transforms.resized_crop(ramp(200, 240), 32, (0.08, 1.0), (3 / 4, 4 / 3), generator(number))
    areas = torch.tensor([h * w / 48_000 for h, w in seen])
    ratios = torch.tensor([w / h for h, w in seen])
    assert 0.075 < float(areas.min()) < 0.12
    assert float(areas.max()) > 0.8
    assert float(ratios.min()) > 0.73
    assert float(ratios.max()) < 1.36
    # Areas are uniform before those that do not fit are drawn again; ratios are symmetric in their logarithm.
    assert float(areas.mean()) == pytest.approx(0.48, abs=0.04)
    assert float(ratios.log().mean()) == pytest.approx(0.02, abs=0.03)


def test_a_window_that_never_fits_falls_back_to_the_centre():
    image = ramp(10, 100)
    cut = transforms.resized_crop(image, 10, (1.0, 1.0), (1.0, 1.0), generator(0))
    assert cut[0, 0].tolist() == list(range(45, 55))


def test_padded_crops_shift_by_up_to_the_padding():
    image = ramp(32, 32) + 1
    seen = set()
    for number in range(300):
        cut = transforms.padded_crop(image, 32, 4, generator(number))
        assert cut.shape == (3, 32, 32)
        left = 4 - int((cut[0, 16] == 0).sum()) if cut[0, 16, 0] == 0 else 4 + int((cut[0, 16] == 0).sum())
        seen.add(left)
        inside = cut[0, 16][cut[0, 16] > 0].tolist()
        assert inside == list(range(inside[0], inside[0] + len(inside)))
    assert seen == set(range(9))


def test_centre_crop_takes_the_middle_of_the_resized_image():
    image = ramp(64, 128)
    assert transforms.centre_crop(image, 64, 56)[0, 0].tolist() == list(range(36, 92))
    assert transforms.centre_crop(image, 64, 56)[1, :, 0].tolist() == list(range(4, 60))
    assert transforms.centre_crop(ramp(100, 300), 256, 224).shape == (3, 224, 224)
    assert transforms.centre_crop(ramp(1, 1), 256, 224).shape == (3, 224, 224)


def test_reduced_images_lose_detail_but_not_size():
    checker = ((torch.arange(8)[:, None] + torch.arange(8)) % 2 * 255).to(torch.uint8).expand(3, 8, 8)
    small = transforms.reduced(checker, 4, 8)
    assert small.shape == (3, 8, 8)
    assert int(small.max()) - int(small.min()) < 60  # a pixel-wide pattern is gone at half the resolution
    assert torch.equal(transforms.reduced(checker, None, 8), checker)
    constant = torch.full((2, 3, 6, 6), 77, dtype=torch.uint8)
    assert torch.equal(transforms.reduced(constant, 3, 12), torch.full((2, 3, 12, 12), 77, dtype=torch.uint8))


def test_jitter_changes_brightness_within_its_strength():
    grey = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    values = [int(transforms.jitter(grey, 0.4, generator(number))[0, 0, 0]) for number in range(200)]
    assert 60 <= min(values) < 70
    assert 130 < max(values) <= 140  # contrast and saturation leave a grey image as it is
    assert torch.equal(transforms.jitter(grey, 0.0, generator(0)), grey)


def test_standardise_maps_mean_to_zero_and_deviation_to_one():
    images = torch.tensor([0, 255, 127], dtype=torch.uint8).view(1, 3, 1, 1)
    out = transforms.standardise(images, (0.5, 0.5, 0.5), (0.25, 0.5, 1.0))
    assert out.flatten().tolist() == pytest.approx([-2.0, 1.0, 127 / 255 - 0.5])
    assert out.is_contiguous(memory_format=torch.channels_last)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(0, 2**30))
def test_any_image_gives_the_wanted_side(height, width, side, seed):
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    size = (3, side, side)
    assert transforms.resized_crop(image, side, (0.08, 1.0), (0.75, 4 / 3), generator(seed)).shape == size
    assert transforms.padded_crop(image, side, 4, generator(seed)).shape == size
    assert transforms.centre_crop(image, math.ceil(side * 1.14), side).shape == size
