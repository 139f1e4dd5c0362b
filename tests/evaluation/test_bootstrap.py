"""Bootstrap of AP: exact at weight one, equal to scoring repeated images, paired, and joint over evaluations."""

import numpy as np
import pytest
from test_coco_metrics import one_object, random_case

from pipeline.evaluation import bootstrap_ap, evaluate_detections, scaled_area_ranges
from pipeline.evaluation.bootstrap import image_counts, joint_draws, mean_draws, weighted_ap
from pipeline.evaluation.contributions import contributions_of

NAMES = ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]


def weighted(ground_truth, detections, counts, **options):
    return weighted_ap(contributions_of(ground_truth, detections, **options), np.asarray(counts))


def assert_same(replicates, draw, metrics, tolerance=1e-12):
    assert list(replicates) == NAMES
    for name in NAMES:
        ours, theirs = replicates[name][draw], metrics[name]
        assert (ours is None) == (theirs is None), name
        assert ours is None or ours == pytest.approx(theirs, abs=tolerance), name


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_weight_one_is_the_metric_on_random_cases(seed, tied):
    truth, detections = random_case(seed, images=1 + seed, tied=tied)
    ranges = scaled_area_ranges(0.5) if seed % 2 else None
    replicates = weighted(truth, detections, np.ones((1, 1 + seed)), area_ranges=ranges)
    assert_same(replicates, 0, evaluate_detections(truth, detections, area_ranges=ranges))


def test_weight_one_is_the_metric_on_masks_and_beyond_100_detections():
    truth, detections = random_case(2, masks=True)
    metrics = evaluate_detections(truth, detections, iou_type="segm")
    assert_same(weighted(truth, detections, np.ones((1, 6)), iou_type="segm"), 0, metrics)
    truth, detections = random_case(2, images=2, categories=1)
    many = [found | {"score": found["score"] * (1 - 0.001 * i)} for i in range(30) for found in detections]
    assert_same(weighted(truth, many, np.ones((1, 2))), 0, evaluate_detections(truth, many))


def repeated(truth, detections, counts):
    """The data set a draw stands for: image i (by sorted id) counts[i] times under new ids."""
    images, annotations, results = [], [], []
    for image, count in zip(sorted(truth["images"], key=lambda image: image["id"]), counts, strict=True):
        for _ in range(count):
            new = {"image_id": len(images)}
            images.append(image | {"id": len(images)})
            annotations += [entry | new for entry in truth["annotations"] if entry["image_id"] == image["id"]]
            results += [entry | new for entry in detections if entry["image_id"] == image["id"]]
    return truth | {"images": images, "annotations": annotations}, results


@pytest.mark.parametrize("seed", range(6))
def test_a_draw_is_the_metric_of_the_repeated_images(seed):
    truth, detections = random_case(seed, images=5)
    # scores apart, so that only repeats tie
    detections = [found | {"score": found["score"] + 1e-9 * i} for i, found in enumerate(detections)]
    replicates = bootstrap_ap(truth, detections, draws=8, seed=seed)
    for draw, counts in enumerate(image_counts(5, 8, seed)):
        assert_same(replicates, draw, evaluate_detections(*repeated(truth, detections, counts)))


def test_hand_computed_draw():
    truth = one_object()
    truth["annotations"].append(truth["annotations"][0] | {"image_id": 6})
    found = [
        {"image_id": 5, "category_id": 2, "bbox": [10, 10, 20, 20], "score": 0.9},
        {"image_id": 6, "category_id": 2, "bbox": [90, 10, 20, 20], "score": 0.8},
    ]
    ap50 = weighted(truth, found, [[1, 1], [2, 0], [0, 2], [2, 1], [0, 0]])["ap50"]
    # recall 1/2, 1, 0 and 2/3 at precision 1: 51, 101, 0 and 67 of the 101 recall thresholds
    assert ap50 == pytest.approx([51 / 101, 1.0, 0.0, 67 / 101, None])


def test_categories_absent_from_a_draw_leave_its_mean():
    truth = one_object()
    truth["annotations"].append(truth["annotations"][0] | {"image_id": 6, "category_id": 9})
    found = [{"image_id": 5, "category_id": 2, "bbox": [10, 10, 20, 20], "score": 0.9}]
    replicates = weighted(truth, found, [[1, 1], [2, 0], [0, 2]])
    assert replicates["ap"] == pytest.approx([0.5, 1.0, 0.0])
    assert replicates["ap_large"] == [None, None, None]


def test_draws_depend_on_the_images_and_the_seed_alone():
    counts = image_counts(7, 20, 3)
    assert counts.shape == (20, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert (image_counts(7, 5, 3) == counts[:5]).all()
    assert (image_counts(7, 20, 4) != counts).any()
    truth, detections = random_case(5)
    shuffled = truth | {"images": truth["images"][::-1]}
    replicates = bootstrap_ap(truth, detections, draws=30)
    assert replicates == bootstrap_ap(shuffled, detections, draws=30)
    better = [found | {"score": found["score"] / 2} for found in detections]
    # halving all scores changes no ranking: paired draws then differ by nothing at all
    assert replicates == bootstrap_ap(truth, better, draws=30)
    assert len(set(replicates["ap"])) > 10


@pytest.mark.parametrize("emptied", [("annotations",), ("annotations", "categories"), ("annotations", "images")])
def test_nothing_to_score(emptied):
    truth = one_object() | {key: [] for key in emptied}
    assert bootstrap_ap(truth, [], draws=3) == dict.fromkeys(NAMES, [None] * 3)
    assert weighted(one_object(), [], [[1, 1], [0, 2]])["ap"] == [0.0, None]


@pytest.mark.parametrize(("draws", "rows"), [(7, 3), (8, 1), (1, 1000)])
def test_draws_and_detections_in_parts_give_the_same(monkeypatch, draws, rows):
    truth, detections = random_case(3, images=9)
    whole = bootstrap_ap(truth, detections, draws=30)
    monkeypatch.setattr("pipeline.evaluation.precision.DRAWS_AT_ONCE", draws)
    monkeypatch.setattr("pipeline.evaluation.precision.ROWS_AT_ONCE", rows)
    parts = bootstrap_ap(truth, detections, draws=30)
    for draw in range(30):
        assert_same(parts, draw, {name: values[draw] for name, values in whole.items()})


def blocks_of_two_methods():
    """One ground truth, and by method and block other detections of it."""
    truth, detections = random_case(4, images=12)
    random = np.random.default_rng(0)
    return truth, {
        f"{method}, block {block}": [found for found in detections if random.random() < share]
        for method, share in (("base", 0.6), ("other", 0.9))
        for block in range(3)
    }


def test_a_joint_bootstrap_resamples_images_once_for_all_blocks_and_methods():
    truth, evaluations = blocks_of_two_methods()
    joint = joint_draws({name: contributions_of(truth, found) for name, found in evaluations.items()}, 25, 7)
    assert joint == {name: bootstrap_ap(truth, found, draws=25, seed=7) for name, found in evaluations.items()}
    mean = mean_draws(values for name, values in joint.items() if name.startswith("base"))
    assert list(mean) == NAMES
    for draw, counts in enumerate(image_counts(12, 25, 7)):
        found = [weighted(truth, evaluations[f"base, block {block}"], counts[None])["ap"][0] for block in range(3)]
        assert mean["ap"][draw] == pytest.approx(np.mean(found), abs=1e-15)
    own = np.std([joint[f"base, block {block}"]["ap50"] for block in range(3)], axis=1, ddof=1)
    assert np.std(mean["ap50"], ddof=1) > 0.5 * own.max()  # blocks share their images: three do not shrink that noise


def test_what_cannot_be_drawn_jointly_or_averaged():
    truth, detections = random_case(4, images=3)
    fewer = truth | {"images": truth["images"][:2], "annotations": []}
    with pytest.raises(ValueError, match="the same images, got 2 sets"):
        joint_draws({"a": contributions_of(truth, detections), "b": contributions_of(fewer, [])})
    assert mean_draws([{"ap": [0.25, None]}, {"ap": [0.75, 0.5]}]) == {"ap": [0.5, None]}
    assert mean_draws([]) == joint_draws({}) == {}
    with pytest.raises(ValueError, match="same metrics"):
        mean_draws([{"ap": [0.5]}, {"map": [0.5]}])
    with pytest.raises(ValueError, match="longer"):
        mean_draws([{"ap": [0.5]}, {"ap": [0.5, 0.5]}])
