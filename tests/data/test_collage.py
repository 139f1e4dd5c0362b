"""Collages: official outputs pixel by pixel, hand-computed boxes, properties, empty and ill-fitting input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from official_numbers import load_case
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.data import make_collage


def load(case: str) -> tuple[dict[str, np.ndarray], list[Tensor], list[dict[str, Tensor]]]:
    arrays, _ = load_case(f"stitcher/collage/{case}")
    count = sum(key.startswith("in_img") for key in arrays)
    images = [torch.from_numpy(arrays[f"in_img{i}"]).float() for i in range(count)]
    targets = [
        {"boxes": torch.from_numpy(arrays[f"in_boxes{i}"]), "labels": torch.from_numpy(arrays[f"in_labels{i}"])}
        for i in range(count)
    ]
    return arrays, images, targets


def objects(*boxes: tuple[float, float, float, float], label: int = 1, **more: Tensor) -> dict[str, Tensor]:
    labels = torch.full((len(boxes),), label)
    return {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": labels, **more}


@pytest.mark.parametrize("case", ["collage4_01", "collage4_03"])
def test_equals_the_official_collage(case: str) -> None:
    arrays, images, targets = load(case)
    size = tuple(arrays["out_image_sizes_hw"][0].tolist())
    for j in range(len(images) // 4):
        four = slice(4 * j, 4 * j + 4)
        image, target = make_collage(images[four], targets[four], canvas_size=size)
        assert torch.equal(image, torch.from_numpy(arrays["out_images"][j]).float())
        torch.testing.assert_close(target["boxes"], torch.from_numpy(arrays[f"out_boxes{j}"]), rtol=1e-6, atol=1e-5)
        assert target["labels"].tolist() == arrays[f"out_labels{j}"].tolist()


def test_the_default_canvas_is_the_official_one() -> None:
    arrays, images, targets = load("collage4_01")
    image, _ = make_collage(images, targets)
    assert torch.equal(image, torch.from_numpy(arrays["out_images"][0]).float())


def test_collages_of_one_image_equal_the_official_batch_stitcher() -> None:
    arrays, images, targets = load("batchstitch_01")
    assert len(images) == len(arrays["out_images"]) == 4
    for j, (image, target) in enumerate(zip(images, targets, strict=True)):
        small, moved = make_collage([image], [target], k=1, canvas_size=arrays["out_images"].shape[2:])
        assert torch.equal(small, torch.from_numpy(arrays["out_images"][j]).float())
        torch.testing.assert_close(moved["boxes"], torch.from_numpy(arrays[f"out_boxes{j}"]), rtol=1e-6, atol=1e-5)
        assert moved["labels"].tolist() == arrays[f"out_labels{j}"].tolist()


@pytest.mark.parametrize("case", ["collage4_01", "collage4_03"])
def test_masks_move_as_the_official_polygons(case: str) -> None:
    arrays, images, targets = load(case)
    size = tuple(arrays["out_image_sizes_hw"][0].tolist())
    for image, target in zip(images, targets, strict=True):
        target["masks"] = torch.zeros(len(target["boxes"]), *image.shape[1:], dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(target["masks"], target["boxes"].round().int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
    for j in range(len(images) // 4):
        four = slice(4 * j, 4 * j + 4)
        _, target = make_collage(images[four], targets[four], canvas_size=size)
        polygons = torch.from_numpy(arrays[f"out_polys{j}"]).reshape(len(target["boxes"]), -1, 2)
        for mask, polygon in zip(target["masks"], polygons, strict=True):
            rows, columns = torch.where(mask)
            if not len(rows):
                continue  # thinner than a pixel of the collage
            found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            corners = torch.cat([polygon.amin(dim=0), polygon.amax(dim=0)])
            assert (found - corners).abs().max() < 1.6  # whole pixels of the image, then of the collage


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("k", [1, 4, 9])
def test_nearest_pixels_are_those_of_interpolate(k: int, dtype: torch.dtype) -> None:
    images = [(torch.rand(3, 62 + 7 * i, 97 - 5 * i) * 255).to(dtype) for i in range(k)]
    images[0] = images[0].permute(1, 2, 0).contiguous().permute(2, 0, 1)  # channels last, as a decoder leaves it
    collage, _ = make_collage(images, [objects()] * k, k=k, size_divisor=1)
    grid = {1: 1, 4: 2, 9: 3}[k]
    height, width = collage.shape[1:]
    rows = [height // grid] * (grid - 1) + [height - height // grid * (grid - 1)]
    columns = [width // grid] * (grid - 1) + [width - width // grid * (grid - 1)]
    if k == 9:
        assert (rows, columns) == ([39, 39, 40], [32, 32, 33])
    top = 0
    for i, h in enumerate(rows):
        left = 0
        for j, w in enumerate(columns):
            wanted = F.interpolate(images[i * grid + j][None], size=(h, w), mode="nearest")[0]
            assert torch.equal(collage[:, top : top + h, left : left + w], wanted)
            left += w
        top += h
    assert (top, left) == (height, width)


@pytest.mark.parametrize("mode", ["nearest-exact", "bilinear", "bicubic", "area"])
def test_other_modes_keep_a_constant_and_move_boxes_alike(mode: str) -> None:
    image, target = make_collage([torch.full((3, 40, 60), 0.25)] * 4, [objects((6, 4, 30, 20))] * 4, interpolation=mode)
    torch.testing.assert_close(image, torch.full((3, 64, 64), 0.25))
    torch.testing.assert_close(target["boxes"][0], torch.tensor([3.2, 3.2, 16, 16]))


class Written(TorchDispatchMode):
    """Collects the names of operators that write at least so many numbers."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least, self.names = least, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view and isinstance(result, Tensor) and result.numel() >= self.least:
            self.names.append(str(func))
        return result


def test_every_pixel_of_a_collage_is_written_once() -> None:
    """Resized into its place, without a copy, a collage costs what shrinking its images does."""
    images, targets = [torch.rand(3, 80, 120) for _ in range(4)], [objects((10, 10, 30, 30))] * 4
    with Written(3 * 40 * 60) as written:
        make_collage(images, targets, canvas_size=(80, 120))
    assert written.names == ["aten.new_empty.default", *["aten.upsample_nearest2d.out"] * 4]


def test_boxes_areas_and_flags_by_hand() -> None:
    images = [torch.full((3, 64, 32), float(i)) for i in range(4)]
    of_image = {"image_id": torch.tensor([7]), "size": torch.tensor([64, 32]), "file": "a"}
    targets = [
        objects((8, 8, 16, 40), label=i, area=torch.tensor([200.0]), valid_head=torch.tensor([i % 2 == 0]), **of_image)
        for i in range(4)
    ]
    image, target = make_collage(images, targets, canvas_size=(64, 64))  # cells 32x32: x stays, y halves
    assert sorted(target) == ["area", "boxes", "labels", "valid_head"]  # what describes the image is dropped
    assert (targets[0]["boxes"].tolist(), targets[0]["area"].tolist()) == ([[8, 8, 16, 40]], [200])  # inputs stay
    assert image[0, ::32, ::32].tolist() == [[0, 1], [2, 3]]
    assert target["boxes"].tolist() == [[8, 4, 16, 20], [40, 4, 48, 20], [8, 36, 16, 52], [40, 36, 48, 52]]
    assert target["area"].tolist() == [100, 100, 100, 100]
    assert target["labels"].tolist() == [0, 1, 2, 3]
    assert target["valid_head"].tolist() == [True, False, True, False]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool])
def test_masks_move_with_their_boxes(dtype: torch.dtype) -> None:
    mask = torch.zeros(1, 32, 32, dtype=dtype)
    mask[0, 4:12, 8:24] = 1
    targets = [objects((8, 4, 24, 12), masks=mask)] * 3 + [objects(masks=mask[:0])]
    _, target = make_collage([torch.zeros(3, 32, 32)] * 4, targets)
    assert target["masks"].dtype == dtype
    assert target["masks"].shape == (3, 32, 32)
    for (x1, y1, x2, y2), moved in zip(target["boxes"].int().tolist(), target["masks"], strict=True):
        assert moved.sum() == (x2 - x1) * (y2 - y1)
        assert moved[y1:y2, x1:x2].all()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("k", [4, 9])
def test_masks_keep_their_place_and_area_in_every_cell(k: int, keep_aspect: bool, interpolation: str) -> None:
    # Images of twice the height of their cells, and of twice (stretched) or once their width.
    grid = {4: 2, 9: 3}[k]
    height, width = 24, 24 if keep_aspect else 48
    mask = torch.zeros(2, height, width, dtype=torch.uint8)
    mask[0, 4:16, 8:20] = 1
    mask[1, ::4, :] = mask[1, 1::4, :] = 1  # stripes of two rows
    targets = [objects((8, 4, 20, 16), (0, 0, width, height), masks=mask)] * k
    images = [torch.zeros(3, height, width)] * k
    canvas = (12 * grid, 24 * grid)
    _, target = make_collage(images, targets, k, 32, canvas, interpolation, keep_aspect)
    cell_width = 12 if keep_aspect else 24
    assert target["masks"].shape == (2 * k, *canvas)
    for index in range(k):
        top, left = 12 * (index // grid), 24 * (index % grid)
        square, stripes = target["masks"][2 * index : 2 * index + 2]
        assert square[top + 2 : top + 8, left + 4 : left + 10].all()
        assert square.sum() == 36  # a quarter of 144, nothing outside
        assert stripes[top : top + 12 : 2, left : left + cell_width].all()
        assert stripes.sum() == 6 * cell_width
    assert target["boxes"][0].tolist() == [4, 2, 10, 8]


def test_the_last_row_and_column_take_the_remainder() -> None:
    images = [torch.full((1, 10, 10), float(i)) for i in range(9)]
    image, target = make_collage(images, [objects((0, 0, 10, 10))] * 9, k=9, canvas_size=(32, 32))
    edges = [(0, 10), (10, 20), (20, 32)]
    assert target["boxes"].tolist() == [[x1, y1, x2, y2] for y1, y2 in edges for x1, x2 in edges]
    assert [float(image[0, y1:y2, x1:x2].mean()) for y1, y2 in edges for x1, x2 in edges] == list(range(9))


def test_keeping_the_aspect_ratio_pads_right_and_bottom() -> None:
    image, target = make_collage(
        [torch.ones(1, 16, 32)] * 4, [objects((0, 0, 32, 16))] * 4, canvas_size=(64, 64), keep_aspect=True
    )
    assert target["boxes"][0].tolist() == [0, 0, 32, 16]
    assert image[0, :16].eq(1).all()
    assert image[0, 16:32].eq(0).all()


def test_bilinear_halving_averages_neighbours() -> None:
    ramp = torch.arange(8.0).repeat(1, 8, 1)
    image, _ = make_collage([ramp] * 4, [objects()] * 4, canvas_size=(8, 8), interpolation="bilinear")
    torch.testing.assert_close(image[0, 0], torch.tensor([0.5, 2.5, 4.5, 6.5] * 2))


def test_small_objects_are_left_out_with_their_masks_on_demand_only() -> None:
    mask = torch.zeros(2, 64, 64, dtype=torch.uint8)
    mask[0, :20, :20] = mask[1, :19, :20] = 1
    targets = [objects((0, 0, 20, 20), (0, 0, 19.9, 20), masks=mask)] * 4
    images = [torch.zeros(3, 64, 64)] * 4
    assert len(make_collage(images, targets)[1]["boxes"]) == 8
    kept = make_collage(images, targets, min_area=100)[1]
    assert kept["boxes"].shape == (4, 4)
    assert len(kept["labels"]) == 4
    assert kept["masks"].sum(dim=(1, 2)).tolist() == [100] * 4


def test_images_without_objects() -> None:
    targets = [objects(), {"boxes": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}] * 2
    image, target = make_collage([torch.ones(3, 40, 50)] * 4, targets)
    assert image.shape == (3, 64, 64)
    assert image.eq(1).all()
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)


def test_whole_numbered_boxes_are_scaled_too() -> None:
    targets = [{"boxes": torch.tensor([[1, 2, 6, 9]]), "labels": torch.ones(1)}] * 4
    _, target = make_collage([torch.zeros(3, 32, 32)] * 4, targets)
    assert target["boxes"][0].tolist() == [0.5, 1, 3, 4.5]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"k": 3}, "k must be a square number, found 3"),
        ({"k": 9}, "needs k images and targets, found 4 and 4"),
        ({"canvas_size": (1, 64)}, "canvas must be at least 2 pixels"),
        ({"interpolation": "cubic"}, "must be one of 'nearest', .*'bilinear', 'bicubic', 'area', found 'cubic'"),
        (
            {"targets": [objects((0, 0, 4, 4), area=torch.ones(1))] + [objects((0, 0, 4, 4))] * 3},
            "'area' must be given",
        ),
        ({"targets": [objects((0, 0, 4, 4), masks=torch.ones(1, 5, 5))] * 4}, r"masks must be \[1, 9, 9\] for image 0"),
        ({"targets": [{"boxes": torch.ones(2, 4), "labels": torch.ones(1)}] * 4}, r"boxes must be \[n, 4\] for n=1"),
        ({"images": [torch.zeros(3, 9, 9)] * 3 + [torch.zeros(1, 9, 9)]}, r"found \[1, 9, 9\] for image 3"),
    ],
)
def test_misuse_is_named(change: dict, sentence: str) -> None:
    arguments = {"images": [torch.zeros(3, 9, 9)] * 4, "targets": [objects((0, 0, 4, 4))] * 4} | change
    with pytest.raises(ValueError, match=sentence):
        make_collage(**arguments)


@given(data=st.data(), grid=st.integers(1, 3), keep_aspect=st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_object_lands_scaled_in_its_own_cell(data: st.DataObject, grid: int, keep_aspect: bool) -> None:
    sides = st.integers(1, 70)
    sizes = [(data.draw(sides), data.draw(sides)) for _ in range(grid * grid)]
    counts = [data.draw(st.integers(0, 3)) for _ in sizes]
    images = [torch.full((1, *size), float(i + 1)) for i, size in enumerate(sizes)]
    targets = [
        objects(*[(0, 0, w, h)] * n, label=i + 1, area=torch.full((n,), float(h * w)))
        for i, ((h, w), n) in enumerate(zip(sizes, counts, strict=True))
    ]
    image, target = make_collage(images, targets, k=grid * grid, keep_aspect=keep_aspect)
    height, width = image.shape[1:]
    assert len(target["boxes"]) == sum(counts)
    boxes = target["boxes"].round().int()
    torch.testing.assert_close(target["boxes"], boxes.float(), atol=1e-4, rtol=0)  # whole images have whole sizes
    for (x1, y1, x2, y2), label, area in zip(boxes.tolist(), target["labels"], target["area"], strict=True):
        row, column = divmod(int(label) - 1, grid)
        assert image[0, y1:y2, x1:x2].eq(float(label)).all()
        assert image.eq(float(label)).sum() == (x2 - x1) * (y2 - y1)
        assert (x1, y1) == (column * (width // grid), row * (height // grid))
        assert float(area) == pytest.approx((x2 - x1) * (y2 - y1), rel=1e-5)
    if not keep_aspect:
        assert image.gt(0).all()
        one_each = {int(label): float(area) for label, area in zip(target["labels"], target["area"], strict=True)}
        assert sum(one_each.values()) <= height * width * (1 + 1e-5)
