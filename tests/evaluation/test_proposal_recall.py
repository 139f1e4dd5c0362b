"""Recall of proposals: by hand, and as COCO's AR with categories left aside."""

import contextlib
import io

import numpy as np
import pytest
import torch

from pipeline.evaluation import scaled_size_ranges
from pipeline.evaluation.bootstrap import image_counts
from pipeline.evaluation.proposals import bootstrap_recall, count_recall, recall_of


def average_recall(objects, proposals, limits=(300, 900), size_ranges=None):
    counts = count_recall(objects, proposals, limits, size_ranges)
    return {limit: recall_of(counts, limit) for limit in limits}


def test_hand_computed():
    objects = [
        [[0, 0, 20, 20], [100, 100, 140, 140]],  # sizes 20 and 40
        [[0, 0, 60, 60], [200, 200, 400, 400]],  # sizes 60 and 200
        [],
    ]
    proposals = [
        [[0, 0, 14, 20], [100, 100, 140, 140]],  # IoU .7 and 1
        [[500, 500, 510, 510], [0, 0, 60, 48]],  # nothing, then IoU .8
        [[0, 0, 5, 5]],
    ]
    recall = average_recall(objects, proposals, limits=(1, 2, 50))
    # thresholds .5 to .95: IoU .7 passes 5 of 10, .8 passes 7, 1 all
    assert recall[2] == {
        "ar": pytest.approx((5 + 10 + 7 + 0) / 40),
        "ar50": 3 / 4,
        "ar75": 2 / 4,
        "recall50_0_25": 1.0,
        "recall50_25_50": 1.0,
        "recall50_50_100": 1.0,
        "recall50_100_up": 0.0,
        "ar_0_25": 5 / 10,
        "ar_25_50": 1.0,
        "ar_50_100": pytest.approx(7 / 10),
        "ar_100_up": 0.0,
    }
    assert recall[50] == recall[2]
    assert recall[1]["ar50"] == 1 / 4
    assert recall[1]["ar"] == pytest.approx(5 / 40)
    assert recall[1]["recall50_25_50"] == 0.0


def test_one_proposal_takes_one_object():
    objects = [[[0, 0, 10, 10], [0, 0, 10, 9]]]
    assert average_recall(objects, [[[0, 0, 10, 10]]], limits=(9,))[9]["ar50"] == 0.5
    assert average_recall(objects, [[[0, 0, 10, 10]] * 2], limits=(9,))[9]["ar50"] == 1.0


def test_ranges_hold_each_object_once():
    objects = [[[0, 0, side, side] for side in (24, 25, 49, 50, 100)]]
    recall = average_recall(objects, [[[0, 0, 25, 25]]], limits=(1,))[1]
    assert recall["recall50_0_25"] == 1.0  # 24 x 24 against 25 x 25: .92
    assert recall["recall50_25_50"] == 0.5
    assert recall["recall50_50_100"] == 0.0
    assert recall["recall50_100_up"] == 0.0
    assert scaled_size_ranges(0.2) == {"0_25": (0, 5), "25_50": (5, 10), "50_100": (10, 20), "100_up": (20, None)}
    scaled = average_recall(objects, [[]], limits=(1,), size_ranges={"tiny": (0, 20)})[1]
    assert scaled == {"ar": 0.0, "ar50": 0.0, "ar75": 0.0, "recall50_tiny": None, "ar_tiny": None}


def test_nothing_there():
    ranges = ("0_25", "25_50", "50_100", "100_up")
    nothing = dict.fromkeys(
        ["ar", "ar50", "ar75", *(f"{kind}_{name}" for kind in ("recall50", "ar") for name in ranges)]
    )
    assert average_recall([], [], limits=(5,)) == {5: nothing}
    assert average_recall([torch.zeros(0, 4)], [torch.zeros(0, 4)], limits=(5,)) == {5: nothing}
    assert average_recall([torch.tensor([[0.0, 0, 9, 9]])], [torch.zeros(0, 4)], limits=(5,))[5]["ar"] == 0.0
    with pytest.raises(ValueError, match="1 and 0 images"):
        average_recall([[]], [])
    with pytest.raises(ValueError, match=r"boxes must be \[n, 4\], got \[1, 3\]"):
        average_recall([[[1, 2, 3]]], [[]])


def test_a_draw_of_images_is_recall_on_repeated_images():
    objects = [[[0, 0, 20, 20], [50, 50, 90, 90]], [[0, 0, 60, 60]], []]
    proposals = [[[50, 50, 90, 90], [0, 0, 14, 20]], [[0, 0, 60, 48]], [[0, 0, 5, 5]]]
    counts = count_recall(objects, proposals, (1, 2))
    for limit in (1, 2):
        for taken in ([3, 0, 0], [0, 1, 2], [1, 2, 0], [0, 0, 3]):
            drawn = [row for row, times in enumerate(taken) for _ in range(times)]
            repeated = average_recall([objects[row] for row in drawn], [proposals[row] for row in drawn], (limit,))
            assert recall_of(counts, limit, np.array(taken)) == repeated[limit]
    replicates = bootstrap_recall(counts, 2, draws=4, seed=0)
    draws = [recall_of(counts, 2, taken) for taken in image_counts(3, 4, 0)]
    assert replicates["ar50"] == [draw["ar50"] for draw in draws]
    assert set(replicates) == set(draws[0])


@pytest.mark.parametrize("limit", [5, 20])
@pytest.mark.parametrize("seed", range(3))
def test_equals_coco_without_categories(seed, limit):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(seed)
    objects, proposals = [], []
    for _ in range(5):
        corners, sides = rng.uniform(0, 100, (6, 2)), rng.uniform(5, 60, (6, 2))
        objects.append(np.concatenate([corners, corners + sides], axis=1))
        near = np.repeat(objects[-1], 5, axis=0) + rng.normal(0, 3, (30, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        proposals.append(rng.permutation(near))

    def dataset(boxes):
        coco = COCO()
        rows = []
        for number, image in enumerate(boxes):
            for rank, box in enumerate(image):
                left, top, width, height = *box[:2], *(box[2:] - box[:2])
                row = {"id": len(rows) + 1, "image_id": number, "category_id": 1, "bbox": [left, top, width, height]}
                rows.append(row | {"area": width * height, "iscrowd": 0, "score": 1 - rank / 100})
        images = [{"id": number} for number in range(len(boxes))]
        coco.dataset = {"images": images, "categories": [{"id": 1}], "annotations": rows}
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):
        engine = COCOeval(dataset(objects), dataset(proposals), "bbox")
        engine.params.useCats, engine.params.maxDets = 0, [limit]
        engine.params.areaRng = [[0, 1e10], [0, 25**2], [25**2, 50**2], [50**2, 100**2]]
        engine.params.areaRngLbl = ["all", "a", "b", "c"]
        engine.evaluate()
        engine.accumulate()
    recall = engine.eval["recall"][:, 0, :, 0]
    ours = average_recall(objects, proposals, limits=(limit,))[limit]
    assert [ours["ar"], ours["ar50"], ours["ar75"]] == pytest.approx([recall[:, 0].mean(), recall[0, 0], recall[5, 0]])
    by_size = [ours[f"recall50_{name}"] for name in ("0_25", "25_50", "50_100")]
    assert by_size == pytest.approx([None if r == -1 else r for r in recall[0, 1:]])
