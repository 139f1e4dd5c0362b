"""Inference on an image pyramid by hand: every resolution's detections in its range, mirrored looks, soft-NMS."""

import math

import pytest
import tiny
import torch
from torch import Tensor

from pipeline.models.test_time import with_flip
from pipeline.options import Test as TestOptions
from pipeline.prediction.detector import detect_levels, merge

HEIGHT, WIDTH = 48, 64  # of the file; networks see a short side of 140, 80 and 48 pixels
SMALL, MIDDLE, LARGE = [2.0, 2, 6, 6], [20.0, 10, 32, 22], [30.0, 15, 60, 45]  # sides 4, 12 and 30
SCORES = {140: (0.9, 0.8, 0.7), 80: (0.5, 0.95, 0.6), 48: (0.3, 0.4, 0.92)}
IPN = TestOptions(
    short_sides=(1400, 800, 480),
    long_sides=(2000, 1200, 800),
    valid_ranges=((0, 90), (32, 180), (75, None)),  # a tenth of it here
    merge="soft_nms",
)
DECAY = math.exp(-1 / 0.55)  # of a box that an equal one was picked before


class Scene(tiny.FakeSet):
    """One image, dark on its left: a mirrored look is known by its dark right."""

    def image(self, row: int) -> Tensor:
        return torch.linspace(0, 255, WIDTH).repeat(3, HEIGHT, 1).to(torch.uint8)


def detect(images: list[Tensor]) -> list[dict[str, Tensor]]:
    """Detect the three objects, each resolution with scores of its own."""
    found = []
    for image in images:
        height, width = image.shape[1:]
        boxes = torch.tensor([SMALL, MIDDLE, LARGE]) * torch.tensor([width / WIDTH, height / HEIGHT]).repeat(2)
        if image[0, 0, 0] > image[0, 0, -1]:
            boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
        found.append({"boxes": boxes, "scores": torch.tensor(SCORES[height]), "labels": torch.tensor([1, 1, 2])})
    return found


def inferred(flip: bool, options: TestOptions = IPN) -> list[tuple[list[float], float]]:
    data = Scene([(HEIGHT, WIDTH)], [[]])
    look = with_flip(detect) if flip else detect
    levels = detect_levels(look, data, tiny.spec("snip_drfcn_r50_7ep_snip"), options, torch.device("cpu"))
    merged = merge([level[0] for level in levels], options, tiny.PRESET)
    boxes = [[round(side, 1) for side in box] for box in merged["boxes"].tolist()]
    return list(zip(boxes, merged["scores"].tolist(), strict=True))


def decayed(box: list[float], scores: list[float]) -> list[tuple[list[float], float]]:
    """Return equal boxes as soft-NMS leaves them: the best as it is, every further one decayed once more."""
    return [(box, score * DECAY**place) for place, score in enumerate(sorted(scores, reverse=True))]


@pytest.mark.parametrize("flip", [False, True])
def test_each_resolution_brings_the_objects_in_its_range(flip: bool) -> None:
    looks = 2 if flip else 1
    # 4 px lie in [0, 9] and [3.2, 18], 12 px in [3.2, 18] and from 7.5, 30 px from 7.5 alone
    expected = [
        *decayed(SMALL, [0.9, 0.5] * looks),
        *decayed(MIDDLE, [0.95, 0.4] * looks),
        *decayed(LARGE, [0.92] * looks),
    ]
    expected.sort(key=lambda row: -row[1])
    found = inferred(flip)
    assert [box for box, _ in found] == [box for box, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-4)


def test_without_ranges_the_wrong_resolutions_stay() -> None:
    options = TestOptions(short_sides=IPN.short_sides, long_sides=IPN.long_sides)  # NMS keeps the best of each
    best = [(SMALL, 0.9), (MIDDLE, 0.95), (LARGE, 0.92)]
    assert sorted(inferred(False, options)) == [(box, pytest.approx(score)) for box, score in best]
    alone = TestOptions(short_sides=(1400,), long_sides=(2000,))
    assert [score for _, score in inferred(False, alone)] == pytest.approx([0.9, 0.8, 0.7])
