"""Chips an image: which images and objects count, by hand."""

import numpy as np
import pytest

from pipeline.analysis.chip_counts import count_chips
from pipeline.data.labelled.sets import LabelSet


def labels(images: list[tuple[tuple[int, int], list[list[float]]]]) -> LabelSet:
    """Return labels of images given as ((height, width), boxes x, y, w, h)."""
    rows = np.array([row for row, (_, boxes) in enumerate(images) for _ in boxes], dtype=int)
    boxes = np.array([box for _, found in images for box in found], dtype=float).reshape(-1, 4)
    sizes = np.array([size for size, _ in images], dtype=float).reshape(-1, 2)
    known = np.ones(len(boxes), dtype=bool)
    return LabelSet("x", "x.json", sizes, rows, boxes, boxes[:, 2:].prod(1), known, np.ones(len(boxes), dtype=int), {})


# 480x640 becomes 1400x1867; a chip of 1000 pixels is 343 of the image's
IMAGES = [
    ((480, 640), [[10, 10, 20, 20]]),
    ((480, 640), [[0, 0, 20, 20], [600, 440, 40, 40], [200, 200, 90, 90]]),  # the last is larger than 80 pixels
    ((480, 640), [[100, 100, 81, 80]]),
    ((480, 640), []),
    ((480, 640), [[100, 100, 80, 80], [120, 120, 10, 10]]),  # 80 is in the range
    ((480, 640), [[0, 100, 400, 10], [0, 0, 5, 5]]),  # sqrt(4000) = 63, and longer than a chip
    ((100, 110), [[10, 10, 5, 5]]),
]


@pytest.mark.parametrize("kind", ["sampled", "grid"])
@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (IMAGES, ([1, 2, 1, 1, 1], 8, 1)),
        ([((480, 640), [[0, 100, 400, 10]])], ([0], 1, 1)),  # the only object fits no chip
        (IMAGES[2:4], ([], 0, 0)),  # no small objects
    ],
)
def test_chips_by_hand(images, expected, kind: str) -> None:
    found = count_chips(labels(images), kind, seed=0)
    assert (found.chips.tolist(), found.objects, found.uncovered) == expected


def test_an_images_chips_depend_on_the_seed_and_on_its_place_alone() -> None:
    rng = np.random.default_rng(0)
    boxes = np.hstack([rng.uniform(0, [600, 440], (40, 2)), np.full((40, 2), 8.0)]).tolist()
    many = [((480, 640), boxes) for _ in range(12)]
    first, again = (count_chips(labels(many), "sampled", seed=3).chips for _ in range(2))
    assert first.tolist() == again.tolist()
    assert first.tolist() == [*count_chips(labels(many[:6]), "sampled", seed=3).chips, *first[6:]]
    assert first.tolist() != count_chips(labels(many), "sampled", seed=4).chips.tolist()
