"""Masks in training batches: where their boxes are, whatever is resized, mirrored, cut or put into collages."""

import pytest
import tiny
import torch
from torch import Tensor

from pipeline.options import CollageOptions
from pipeline.training.collage_feeding import CollageFeeder
from pipeline.training.feeding import COLLAGE, REGULAR, RegularBatches, build_feeder
from pipeline.training.pyramid import PyramidBatches, Unit

SIZE = (40, 60)  # networks see 80x120


class MaskedSet(tiny.FakeSet):
    """A FakeSet whose masks fill the boxes, without the upper left quarter."""

    has_masks = True

    def masks(self, row: int) -> Tensor:
        masks = torch.zeros(len(self.boxes[row]), *self.sizes[row], dtype=torch.uint8)
        for mask, box in zip(masks, self.boxes[row].int().tolist(), strict=True):
            fill(mask, box)
        return masks


def fill(mask: Tensor, box: list[int]) -> None:
    x1, y1, x2, y2 = box
    mask[y1:y2, x1:x2] = 1
    mask[y1 : (y1 + y2) // 2, x1 : (x1 + x2) // 2] = 0


def masked(count: int, size: tuple[int, int] = SIZE) -> MaskedSet:
    return MaskedSet([size] * count, [[[4, 8, 20, 24], [30, 10, 50, 30]]] * count)


def expected(box: Tensor, size: tuple[int, int], flipped: bool = False) -> Tensor:
    """Return the mask of a box of whole pixels in an image of this size."""
    x1, y1, x2, y2 = box.round().int().tolist()
    mask = torch.zeros(size, dtype=torch.uint8)
    fill(mask, [size[1] - x2, y1, size[1] - x1, y2] if flipped else [x1, y1, x2, y2])
    return mask.flip(-1) if flipped else mask


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_masks_lie_in_their_boxes_at_every_drawn_scale(flip):
    sizes = set()
    batches = RegularBatches(tiny.plain(flip, short_sides=(400, 600, 800), batch=3), masked(3), 3, REGULAR)
    for index in range(6):
        images, targets, _ = batches[index]
        for image, target in zip(images, targets, strict=True):
            sizes.add(tuple(image.shape[1:]))
            assert target["masks"].dtype == torch.uint8
            assert target["masks"].shape == (2, *image.shape[1:])
            for box, mask in zip(target["boxes"], target["masks"], strict=True):
                assert torch.equal(mask, expected(box, image.shape[1:], flip == 1))
    assert sizes == {(40, 60), (60, 90), (80, 120)}


def test_masks_change_nothing_else_in_a_batch():
    for source in (tiny.plain(0.5), tiny.plain(0.5, collage=CollageOptions())):
        plain = tiny.FakeSet([SIZE] * 8, [[[4, 8, 20, 24], [30, 10, 50, 30]]] * 8)
        with_masks, without = build_feeder(source, masked(8), 8), build_feeder(source, plain, 8)
        for step in range(2):
            images, targets, _ = with_masks.batch(step)
            other_images, other_targets, _ = without.batch(step)
            assert all(torch.equal(a, b) for a, b in zip(images, other_images, strict=True))
            for target, other in zip(targets, other_targets, strict=True):
                assert list(other) == ["boxes", "labels"]
                assert all(torch.equal(target[name], other[name]) for name in other)


@pytest.mark.parametrize("keep_aspect", [False, True])
def test_masks_of_collages(keep_aspect):
    # 80x120 images in cells of 48x64 (stretched), or 43x64 (aspect kept).
    source = tiny.plain(batch=1, collage=CollageOptions(keep_aspect=keep_aspect))
    (collage,), (target,), _ = CollageFeeder(source, masked(4), 4).batch(0)
    assert target["masks"].shape == (8, *collage.shape[1:]) == (8, 96, 128)
    height = 43 if keep_aspect else 48
    sources = RegularBatches(source, masked(4), 4, COLLAGE)[0][1]
    for index in range(4):
        cell = target["masks"][2 * index : 2 * index + 2]
        top, left = 48 * (index // 2), 64 * (index % 2)
        inside = cell[:, top : top + height, left : left + 64]
        assert inside.sum() == cell.sum() > 0
        # The pixel of torch's nearest interpolation, as for the image.
        rows = (torch.arange(height).float() * torch.tensor(80 / height)).floor().long()
        columns = (torch.arange(64).float() * torch.tensor(120 / 64)).floor().long()
        assert torch.equal(inside, sources[index]["masks"][:, rows][:, :, columns])


def test_masks_of_chips():
    found = tiny.c4("snip_drfcn_r50_7ep_snip", batch=1)
    found = tiny.changed(found, recipe={"flip": 1.0}, preset={"factor": 0.1, "original_factor": 1.0})
    # 140x190 files are as large as the finest level's network inputs.
    boxes = [[10, 20, 30, 40], [90, 10, 110, 30], [150, 20, 170, 40]]
    data = MaskedSet([(140, 190)], [boxes])
    source = PyramidBatches(found, data, 20)
    level = source.spec.experiment.pyramid[0]
    image, target = source.sample(Unit(0, (0, 0, 100, 100)), level, True, flipped=True)
    assert image.shape == (3, 100, 100)
    assert target["boxes"].tolist() == [[70, 20, 90, 40], [0, 10, 10, 30]]  # mirrored; the third does not show
    assert target["masks"].shape == (2, 100, 100)
    assert target["masks"].sum(dim=(1, 2)).tolist() == [300, 100]  # of the second the left half shows
    assert torch.equal(target["masks"][0], expected(target["boxes"][0], (100, 100), True))
    assert target["masks"][1, 20:30, :10].all()
    whole = source.sample(Unit(0, None), level, True, flipped=True)[1]
    assert whole["masks"].shape == (3, 140, 190)
