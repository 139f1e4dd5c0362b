"""COCO metrics: equality with pycocotools on invented boxes and masks, numbers by hand, bad input."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluation import evaluate_detections, scaled_area_ranges
from pipeline.evaluation.inputs import labels_of, read_detections, read_ground_truth
from pipeline.evaluation.protocol import all_area_ranges

NAMES = [
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
]


def reference(ground_truth, detections, iou_type="bbox", area_ranges=None):
    """pycocotools on the same records."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = read_ground_truth(ground_truth, iou_type)
    ranges = all_area_ranges(area_ranges)
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for annotations in (truth["annotations"], read_detections(detections, truth, iou_type)):
            coco = COCO()
            coco.dataset = truth | {"annotations": annotations}
            coco.createIndex()
            sides.append(coco)
        engine = COCOeval(*sides, iou_type)
        engine.params.areaRng, engine.params.areaRngLbl = [list(ends) for ends in ranges.values()], list(ranges)
        engine.evaluate()
        engine.accumulate()
        engine.summarize()
    return {name: None if value == -1 else float(value) for name, value in zip(NAMES, engine.stats, strict=True)}


def rle(polygons, side):
    """Return polygons in a square image as COCO's compressed run lengths."""
    from pycocotools import mask

    found = mask.merge(mask.frPyObjects(polygons, side, side))
    return {"size": found["size"], "counts": found["counts"].decode()}


def random_case(seed, images=6, categories=3, tied=False, masks=False):
    """Objects of all sizes, crowds, empty images, areas on the boundaries, and detections near them or anywhere."""
    rng = np.random.default_rng(seed)
    side = 200
    truth = {
        "images": [{"id": int(i) * 7 + 3, "height": side, "width": side} for i in rng.permutation(images)],
        "categories": [{"id": k * 2 + 1, "name": f"c{k}"} for k in range(categories)],
        "annotations": [],
    }
    detections = []

    def detect(image, category, box):
        score = float(np.round(rng.random(), 1 if tied else 6))
        box = [float(side) for side in box]
        detections.append({"image_id": image["id"], "category_id": category, "bbox": box, "score": score})

    for image in truth["images"]:
        for _ in range(int(rng.integers(0, 8))):
            width, height = np.round(np.exp(rng.uniform(np.log(4), np.log(150), 2)))
            if rng.random() < 0.3:  # exactly on a boundary of COCO's ranges
                width = height = rng.choice([32.0, 96.0])
            x, y = np.round(rng.uniform(0, side - np.array([width, height])))
            category = int(rng.choice(truth["categories"])["id"])
            box = [float(x), float(y), float(width), float(height)]
            annotation = {
                "id": len(truth["annotations"]),
                "image_id": image["id"],
                "category_id": category,
                "bbox": box,
                "area": float(width * height * (1 if rng.random() < 0.5 else rng.uniform(0.5, 1))),
                "iscrowd": int(rng.random() < 0.15),
            }
            if masks:
                corners = [x, y, x + width, y, x + width, y + height * rng.uniform(0.5, 1), x, y + height]
                polygon = [[float(value) for value in corners]]
                annotation["segmentation"] = rle(polygon, side) if annotation["iscrowd"] else polygon
            truth["annotations"].append(annotation)
            for _ in range(int(rng.integers(0, 4))):
                moved = np.array(box) + rng.normal(0, 0.08, 4) * [width, height, width, height]
                if rng.random() < 0.3:
                    moved = np.array(box)
                detect(image, 1 if rng.random() < 0.1 else category, moved)
        for _ in range(int(rng.integers(0, 5))):
            detect(image, int(rng.choice(truth["categories"])["id"]), rng.uniform(0, 100, 4))
    if masks:
        for detection in detections:
            x, y, w, h = detection["bbox"]
            w, h = max(w, 1.0), max(h, 1.0)
            detection["segmentation"] = rle([[x, y, x + w, y, x + w, y + h, x, y + h]], side)
    return truth, detections


def assert_equal(ours, theirs, tolerance=1e-12):
    assert list(ours) == list(theirs)
    for name in theirs:
        assert (ours[name] is None) == (theirs[name] is None), name
        if theirs[name] is not None:
            assert ours[name] == pytest.approx(theirs[name], abs=tolerance), name


def test_dicts_and_paths_score_alike_and_stay_unchanged(tmp_path, capfd):
    case = random_case(5)
    before = copy.deepcopy(case)
    files = tmp_path / "ground_truth.json", tmp_path / "detections.json"
    for file, content in zip(files, case, strict=True):
        file.write_text(json.dumps(content))
    metrics = evaluate_detections(*case)
    assert metrics == evaluate_detections(*files) == evaluate_detections(*map(str, files))
    assert case == before
    assert capfd.readouterr() == ("", "")
    assert_equal(metrics, reference(*files))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_equals_pycocotools_on_random_cases(seed, tied):
    truth, detections = random_case(seed, images=1 + seed, tied=tied)
    assert_equal(evaluate_detections(truth, detections), reference(truth, detections))


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_on_masks(seed):
    truth, detections = random_case(seed, masks=True)
    theirs = reference(truth, detections, "segm")
    assert_equal(evaluate_detections(truth, detections, iou_type="segm"), theirs)
    assert theirs["ap50"] > 0.1


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("masks", "count"), [(False, 1000), (True, 150)])
def test_equals_pycocotools_with_more_detections_than_count(masks, count, tied):
    """Only the first 100 of an image and category count; of equal scores those that come first."""
    truth, detections = random_case(2, images=3, categories=1, tied=tied, masks=masks)
    found = [
        detection | {"image_id": image["id"], "score": round(detection["score"] * (1 - 0.0005 * i), 1 if tied else 6)}
        for image in truth["images"]
        for i, detection in enumerate((detections * count)[:count])
    ]
    kind = "segm" if masks else "bbox"
    theirs = reference(truth, found, kind)
    assert_equal(evaluate_detections(truth, found, iou_type=kind), theirs)
    assert theirs["ap50"] > 0


def test_random_cases_hold_what_is_rare():
    """Crowds, images without objects or without detections, and equal scores are among what pycocotools is asked."""
    cases = [random_case(seed, images=1 + seed, tied=True) for seed in range(12)]
    assert sum(annotation["iscrowd"] for truth, _ in cases for annotation in truth["annotations"]) >= 10
    ids = [{image["id"] for image in truth["images"]} for truth, _ in cases]
    assert any(ids[i] - {record["image_id"] for record in truth["annotations"]} for i, (truth, _) in enumerate(cases))
    assert any(ids[i] - {record["image_id"] for record in found} for i, (_, found) in enumerate(cases))
    assert any(len({record["score"] for record in found}) < len(found) for _, found in cases)


def test_equals_pycocotools_with_other_area_ranges():
    truth, detections = random_case(1)
    ranges = scaled_area_ranges(0.25)
    assert ranges == {"small": (0, 64), "medium": (64, 576), "large": (576, 1e10)}
    ours = evaluate_detections(truth, detections, area_ranges=ranges)
    assert_equal(ours, reference(truth, detections, area_ranges=ranges))
    assert ours["ap"] == evaluate_detections(truth, detections)["ap"]
    assert ours["ap_large"] != evaluate_detections(truth, detections)["ap_large"]


def test_an_area_range_of_another_name_is_added():
    truth, detections = random_case(1)
    metrics = evaluate_detections(truth, detections, area_ranges={"any": (0, 1e10)})
    assert metrics["ap_any"] == metrics["ap"]
    assert metrics["ar_any"] == metrics["ar100"]
    assert set(NAMES) < set(metrics)
    with pytest.raises(ValueError, match="other than 'all'"):
        evaluate_detections(truth, detections, area_ranges={"all": (0, 10)})


def one_object(area=400.0, box=(10, 10, 20, 20)):
    return {
        "images": [{"id": 5}, {"id": 6}],
        "categories": [{"id": 2, "name": "disc"}, {"id": 9, "name": "ring"}],
        "annotations": [{"id": 0, "image_id": 5, "category_id": 2, "bbox": list(box), "area": area}],
    }


def detection(score=0.9, **changes):
    return {"image_id": 5, "category_id": 2, "bbox": [10, 10, 20, 20], "score": score} | changes


def test_hand_computed_average_precision():
    truth = one_object()
    truth["annotations"].append(truth["annotations"][0] | {"bbox": [60, 60, 20, 20]})
    # true at .9, false at .8, true at .7: recall .5 at precision 1, recall 1 at 2/3; 51 and 50 of the 101 recalls
    found = [detection(0.9), detection(0.8, bbox=[100, 0, 20, 20]), detection(0.7, bbox=[60, 60, 20, 20])]
    metrics = evaluate_detections(truth, found)
    expected = (51 + 50 * 2 / 3) / 101
    assert metrics["ap"] == pytest.approx(expected, abs=1e-12)
    assert metrics["ar1"] == 0.5
    assert metrics["ar10"] == 1.0


def test_iou_thresholds_count():
    # 20x20 against its left 14x20: IoU .7, so 5 of 10 thresholds (.5 to .7)
    metrics = evaluate_detections(one_object(), [detection(bbox=[10, 10, 14, 20])])
    assert (metrics["ap50"], metrics["ap75"]) == (1.0, 0.0)
    assert metrics["ap"] == pytest.approx(0.5)


def test_no_detections_score_zero_where_there_is_ground_truth():
    metrics = evaluate_detections(one_object(), [])
    assert list(metrics) == NAMES
    for name in ("ap", "ap50", "ap75", "ap_small", "ar1", "ar10", "ar100", "ar_small"):
        assert metrics[name] == 0.0
    for name in ("ap_medium", "ap_large", "ar_medium", "ar_large"):
        assert metrics[name] is None
    assert_equal(metrics, reference(one_object(), []))


@pytest.mark.parametrize("emptied", [("annotations",), ("annotations", "categories"), ("annotations", "images")])
def test_nothing_annotated_gives_none(emptied):
    truth = one_object() | {key: [] for key in emptied}
    assert set(evaluate_detections(truth, []).values()) == {None}
    if emptied == ("annotations",):
        assert set(evaluate_detections(truth, [detection()]).values()) == {None}
        only_crowds = one_object()
        only_crowds["annotations"][0]["iscrowd"] = 1
        assert set(evaluate_detections(only_crowds, [detection()]).values()) == {None}


def test_two_categories_of_one_name_stay_apart():
    names = {2: "disc", 4: "ring", 9: "disc"}
    assert labels_of([{"id": key, "name": name} for key, name in names.items()]) == ["disc (2)", "ring", "disc (9)"]


def test_numbers_of_numpy_are_numbers_and_areas_may_lack():
    found = detection(np.float32(0.5), image_id=np.int64(5), bbox=np.array([10, 10, 20, 20], dtype=np.float32))
    truth = one_object()
    del truth["annotations"][0]["area"]  # that of the box
    metrics = evaluate_detections(truth, [found])
    assert (metrics["ap"], metrics["ap_small"]) == (1.0, 1.0)  # also with an annotation id of 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image_id": 7}, r"image_id must name one of the ground truth's 2 image ids, but entry 1 .* has 7;"),
        ({"category_id": 1}, r"category_id must name one of the ground truth's 2 category ids, but entry 1 .* has 1;"),
        ({"image_id": [5]}, r"entry 1 of the detections has \[5\]"),
        ({"score": float("nan")}, r"score must be finite, but entry 1 .* nan"),
        ({"score": "high"}, r"score must be finite, but entry 1 .* 'high'"),
        ({"bbox": [1, 2, 3]}, r"bbox is \[x, y, width >= 0, height >= 0\], but entry 1"),
        ({"bbox": [1, 2, -3, 4]}, r"bbox is \[x, y, width >= 0, height >= 0\], but entry 1"),
        ({"bbox": [1, 2, float("inf"), 4]}, r"bbox must be finite, but entry 1"),
        ({"bbox": None}, r"bbox must be finite, but entry 1"),
    ],
)
def test_bad_detections_end_in_one_sentence(change, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        evaluate_detections(one_object(), [detection(), detection(**change)])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["image_id", "category_id", "bbox", "score"])
def test_a_missing_key_is_named(key):
    found = detection()
    del found[key]
    with pytest.raises(InputError, match=f"needs the key '{key}', which entry 0 of the detections lacks"):
        evaluate_detections(one_object(), [found])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": [{"id": 5}, {"id": 5}]}, "ids of image entries must be unique, but 5 occurs twice"),
        ({"images": [{"id": "5"}]}, "needs an integer 'id', which image 0"),
        ({"categories": [{"id": 2}, {"id": 2}]}, "ids of category entries must be unique, but 2"),
        ({"images": None}, "needs a list 'images'"),
        ({"images": [{"id": 6}]}, "image_id must name one of the ground truth's 1 image ids, but annotation 0"),
        ({"categories": [{"id": 1}]}, "category_id must name one of the ground truth's 1 category ids"),
        ({"annotations": [{}]}, "needs the key 'image_id', which annotation 0"),
    ],
)
def test_bad_ground_truth_ends_in_one_sentence(change, sentence):
    with pytest.raises(InputError, match=sentence):
        evaluate_detections(one_object() | change, [])


def test_files_are_named_in_the_sentence(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("{}")
    with pytest.raises(InputError, match=r"results\.json holds an object"):
        evaluate_detections(one_object(), path)
    with pytest.raises(InputError, match="does not exist"):
        evaluate_detections(tmp_path / "none.json", [])


def test_masks_need_sizes_and_segmentations():
    truth = one_object()
    with pytest.raises(InputError, match="height and width, which image 5"):
        evaluate_detections(truth, [], iou_type="segm")
    truth["images"][0] |= {"height": 50, "width": 50}
    with pytest.raises(InputError, match="list of polygons or an RLE, but annotation 0"):
        evaluate_detections(truth, [], iou_type="segm")
    truth["annotations"][0]["segmentation"] = {"size": [50, 40], "counts": [2000]}
    with pytest.raises(InputError, match=r"size, \[50, 50\], but annotation 0 .* has \[50, 40\]"):
        evaluate_detections(truth, [], iou_type="segm")
    with pytest.raises(ValueError, match="did you mean 'segm'"):
        evaluate_detections(truth, [], iou_type="segms")


@pytest.mark.parametrize(
    "counts",
    ["o" * 40, "", "1", "\x7f", "PPYo1P", 5, None, [1200], [100, -20, 2420], [2500.0], [True, 2499], ["2500"], [2**70]],
)
def test_run_length_codes_are_checked_before_pycocotools_sees_them(counts):
    truth = one_object()
    truth["images"][0] |= {"height": 50, "width": 50}
    result = {"image_id": 5, "category_id": truth["categories"][0]["id"], "score": 0.5}
    result["segmentation"] = {"size": [50, 50], "counts": counts}
    with pytest.raises(InputError, match="fill its image's 2500 pixels, but those of entry 0"):
        evaluate_detections(truth | {"annotations": []}, [result], iou_type="segm")
    result["segmentation"] = [[1, 1, 1e9, 1, 5, 5]]
    with pytest.raises(InputError, match="points of a mask lie in or near its image"):
        evaluate_detections(truth | {"annotations": []}, [result], iou_type="segm")


@pytest.mark.parametrize("change", [{"bbox": 5}, {"score": 10**400}, {"bbox": [1, 1, 2, 10**400]}])
def test_results_of_a_wrong_type(change):
    truth = one_object()
    result = {"image_id": 5, "category_id": truth["categories"][0]["id"], "score": 0.5, "bbox": [1, 1, 2, 2]}
    with pytest.raises(InputError, match="must be finite, but entry 0"):
        evaluate_detections(truth, [result | change])
    for crowd in (-1, [], "1", None):
        truth["annotations"][0]["iscrowd"] = crowd
        with pytest.raises(InputError, match="iscrowd must be 0 or 1, but annotation 0"):
            evaluate_detections(truth, [result])
