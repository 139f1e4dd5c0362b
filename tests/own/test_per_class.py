"""Results by class: the same AP as the evaluation's, sizes over the classes that have them, confusions by hand."""

import numpy as np
import pytest
import tiny

from pipeline import blocks, paths
from pipeline.data.manifest import load_split
from pipeline.evaluation.bootstrap import bootstrap_ap
from pipeline.evaluation.coco import evaluate_detections
from pipeline.evaluation.contributions import contributions_of
from pipeline.evaluation.protocol import scaled_area_ranges
from pipeline.files import read_json, write_json
from pipeline.own.confusion import confusion, pairs, thresholds_of
from pipeline.own.mistakes import draw_mistakes
from pipeline.own.per_class import object_counts, score_classes, scores

NAME = "dst_frcnn_r50_fpn_1x"


def box(image: int, category: int, x: float, side: float = 40.0, **more) -> dict:
    return {"image_id": image, "category_id": category, "bbox": [x, 0.0, side, side], "area": side**2, **more}


def truth_of(boxes: list[dict], images: int = 2) -> dict:
    return {
        "images": [{"id": number + 1, "width": 400, "height": 400} for number in range(images)],
        "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "white"}],
        "annotations": [{"iscrowd": 0, **one, "id": number + 1} for number, one in enumerate(boxes)],
    }


def shown(*boxes: dict) -> list[dict]:
    return [{"score": 0.9, **one} for one in boxes]


def test_a_size_averages_the_classes_that_have_thirty_of_it():
    """40 red, found all; 5 white, found none: their AP is 100 and 0, and of their size only red counts."""
    red = [box(number, 1, 10.0) for number in range(1, 41)]
    white = [box(number, 2, 100.0) for number in range(1, 6)]
    truth = truth_of(red + white, images=40)
    found = contributions_of(truth, shown(*red), "bbox", scaled_area_ranges(1.0))
    counts = object_counts(found, truth["categories"])
    assert counts == {"1": {"all": 40, "small": 0, "medium": 40, "large": 0}, "2": {"all": 5, "small": 0, "medium": 5,
                                                                                  "large": 0}}  # fmt: skip
    numbers = scores(found, np.ones((40, 1), dtype=np.int32), counts)
    assert numbers["ap"] == pytest.approx([0.5])
    assert numbers["ap_medium"] == pytest.approx([1.0])
    assert numbers["ap_small"] == [None]
    assert numbers["ap_class_1"] == pytest.approx([1.0])
    assert numbers["ap_class_2"] == pytest.approx([0.0])


def test_confusions_by_hand():
    objects = [box(1, 1, 0.0), box(1, 1, 100.0), box(1, 2, 200.0), box(2, 2, 0.0), box(2, 1, 200.0, iscrowd=1)]
    truth = truth_of(objects)
    found = shown(
        box(1, 1, 0.0),  # right
        box(1, 1, 2.0, score=0.8),  # a second one of the same object
        box(1, 2, 100.0),  # red shown as white
        box(1, 2, 200.0, score=0.2),  # below its threshold: missed
        box(2, 1, 205.0),  # inside what is ignored
    )
    matrix = confusion(truth, found, {"1": 0.5, "2": 0.5})
    assert matrix == {"0": {"1": 1}, "1": {"1": 1, "2": 1}, "2": {"0": 2}}
    assert confusion(truth_of([]), [], {"1": 0.5, "2": 0.5}) == {}
    assert [b for a, b in pairs(truth, found, {"1": 0.5, "2": 0.5}) if a is None] == [found[1]]
    chosen = thresholds_of(truth, found)
    assert chosen["1"]["threshold"] < 0.9
    assert chosen["2"] == {"threshold": 0.05, "f1": 0.5}  # one right, one wrong, one missed


def test_a_stage_writes_blocks_and_replicates_of_the_evaluations_own_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.make_files()
    spec = tiny.spec(NAME)
    truth = load_split(spec.manifest, "val")
    own = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.9 - 0.01 * number}
        for number, a in enumerate(truth["annotations"])
    ]
    parts = [own[::2], own[1::2]]
    write_json(paths.detections("tiny", NAME), blocks.listed(parts))
    with pytest.raises(Exception, match="has 2 blocks, and 1 are asked for"):
        score_classes(spec, "single")
    spec = tiny.replace(spec, blocks=2)
    score_classes(spec, "single")
    found = read_json(paths.metrics("tiny", paths.per_class_name(NAME)))
    ranges = scaled_area_ranges(tiny.PRESET.pixel_factor)
    for part, block in zip(parts, found["blocks"], strict=True):
        wanted = evaluate_detections(truth, part, area_ranges=ranges)
        assert block["ap"] == pytest.approx(wanted["ap"], abs=1e-6)
        assert block["ap50"] == pytest.approx(wanted["ap50"], abs=1e-6)
    draws = [bootstrap_ap(truth, part, ranges, draws=5)["ap"] for part in parts]
    replicates = read_json(paths.bootstrap("tiny", paths.per_class_name(NAME)))["ap"]
    assert replicates == pytest.approx([(a + b) / 2 for a, b in zip(*draws, strict=True)], abs=1e-6)
    assert sum(one["all"] for one in found["objects"].values()) == sum(not a["iscrowd"] for a in truth["annotations"])
    assert found["pixels"] == {"training": pytest.approx(80 * 80 * 4 / 3, rel=0.02),
                               "test": pytest.approx(80 * 80 * 4 / 3, rel=0.02)}  # fmt: skip


def test_mistakes_are_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.make_files()
    monkeypatch.setattr("pipeline.own.mistakes.config.load_preset", lambda name: tiny.PRESET)
    truth = load_split(tiny.spec(NAME).manifest, "val")
    alarm = {"image_id": truth["images"][0]["id"], "category_id": 1, "bbox": [0.0, 0.0, 1.0, 1.0], "score": 0.9}
    write_json(paths.detections("tiny", NAME), [alarm])
    written = draw_mistakes("tiny", NAME)
    assert [path.name for path in written] == [f"{NAME}_misses.png", f"{NAME}_false_alarms.png"]
    assert all(path.stat().st_size > 1000 for path in written)
    with pytest.raises(Exception, match="does not exist; build nothing under preset tiny"):
        draw_mistakes("tiny", "nothing")
