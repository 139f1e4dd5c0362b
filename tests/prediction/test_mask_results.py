"""Masks of detections: pasted by hand, merged over resolutions, written, scored, from training to metrics."""

import json
import math
import time

import pytest
import tiny
import torch
from msgspec.structs import replace
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision.ops import roi_align

from pipeline import paths
from pipeline.data.masks import decode
from pipeline.errors import InputError
from pipeline.evaluation import evaluate_detections
from pipeline.evaluation.scoring import score
from pipeline.files import read_json, sha256, write_json
from pipeline.options import Test as TestOptions
from pipeline.prediction.detector import coco_results, merge, predict
from pipeline.prediction.mask_results import encode_masks, paste
from pipeline.spec import Spec
from pipeline.training.detection import train_detector

TWO = {"short_sides": (800, 480), "long_sides": (1333, 800)}


def mask_of(code: dict) -> list[list[int]]:
    return decode([code["counts"]], *code["size"])[0].tolist()


def found(*rows: tuple[list[float], float, float]) -> dict[str, Tensor]:
    """Return detections of (box, score, probability everywhere) rows, all of one class."""
    return {
        "boxes": torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor([row[1] for row in rows], dtype=torch.float32),
        "labels": torch.ones(len(rows), dtype=torch.int64),
        "mask_probs": torch.tensor([row[2] for row in rows]).half().reshape(-1, 1, 1, 1).repeat(1, 1, 4, 4),
    }


def test_a_box_of_as_many_pixels_as_bins_keeps_every_bin():
    probability = torch.tensor([[0.9, 0.1], [0.5, 0.49]])
    code = encode_masks(probability[None, None], torch.tensor([[1.0, 1.0, 3.0, 3.0]]), (4, 5))[0]
    assert mask_of(code) == [[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert json.loads(json.dumps(code)) == {"size": [4, 5], "counts": code["counts"]}


def test_probabilities_are_interpolated_at_pixel_centres():
    # Columns at 1/8, 3/8, 5/8, 7/8 of the box, bins at 1/4 and 3/4: 0.8, 0.8 * 3/4 + 0.2 / 4 = 0.65, 0.35, 0.2; the
    # outermost lie half outside the bins' centres, where zeros are mixed in: 0.8 * 3/4 = 0.6.
    mask, top, left = paste(torch.tensor([[0.8, 0.2], [0.8, 0.2]]), [2.0, 0.0, 6.0, 2.0], (2, 8))
    assert (top, left) == (0, 2)
    assert mask.tolist() == [[True, True, False, False]] * 2
    weak, *_ = paste(torch.tensor([[0.66, 0.2], [0.66, 0.2]]), [2.0, 0.0, 6.0, 2.0], (2, 8))
    assert weak.tolist() == [[False, True, False, False]] * 2  # 0.495 and 0.545


def test_a_pixel_whose_centre_lies_far_outside_the_box_is_free():
    mask, top, left = paste(torch.ones(28, 28), [1.6, 1.0, 4.0, 3.4], (5, 5))
    assert (top, left) == (1, 1)
    assert mask.tolist() == [[False, True, True], [False, True, True], [False, False, False]]


@pytest.mark.parametrize("box", [[-4.0, -2.0, 3.0, 2.0], [3.0, 2.0, 12.0, 9.0]])
def test_boxes_are_cut_at_the_image(box):
    code = encode_masks(torch.ones(1, 1, 28, 28), torch.tensor([box]), (4, 6))[0]
    whole = [[int(box[0] < x + 0.5 < box[2] and box[1] < y + 0.5 < box[3]) for x in range(6)] for y in range(4)]
    assert mask_of(code) == whole


@pytest.mark.parametrize(
    "box", [[2.0, 2.0, 2.0, 3.0], [7.0, 1.0, 9.0, 3.0], [2.0, 3.0, 3.0, 1.0], [2.1, 1.1, 2.4, 3.0]]
)
def test_boxes_that_hold_no_pixel_have_empty_masks(box):
    code = encode_masks(torch.ones(1, 1, 28, 28), torch.tensor([box]), (4, 6))[0]
    assert not any(any(row) for row in mask_of(code))


def test_true_masks_come_back(tiny_project):
    truth = read_json(paths.manifest("tiny").parent / "val.json")
    results = []
    for annotation in truth["annotations"]:
        size = tuple(annotation["segmentation"]["size"])
        x, y, w, h = annotation["bbox"]
        box = torch.tensor([[x, y, x + w, y + h]], dtype=torch.float32)
        mask = torch.from_numpy(coco_mask.decode(annotation["segmentation"]).copy()).float()
        seen = roi_align(mask[None, None], [box], (28, 28), aligned=True)
        code = encode_masks(seen.half(), box, size)[0]
        results.append({key: annotation[key] for key in ("image_id", "category_id")} | {"score": 1.0})
        results[-1] |= {"segmentation": code}
    assert len(results) > 10
    assert evaluate_detections(truth, results, "segm")["ap"] > 0.98


def test_writing_takes_the_boxes_pixels_not_the_images():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(300, 2, generator=generator) * 3000
    boxes = torch.cat([corners, corners + 60], dim=1)
    start = time.process_time()
    codes = encode_masks(torch.rand(300, 1, 28, 28, generator=generator).half(), boxes, (4000, 6000))
    assert time.process_time() - start < 3  # 24 million pixels an image; 0.1 s here
    assert codes[0]["size"] == [4000, 6000]


@pytest.mark.parametrize("how", ["nms", "soft_nms"])
def test_merging_keeps_every_detections_own_mask(how):
    a, shifted, b, far = [0.0, 0, 10, 10], [0.0, 0, 10, 8], [50.0, 50, 70, 70], [90.0, 90, 100, 100]
    levels = [found((a, 0.5, 0.1), (b, 0.4, 0.2)), found((shifted, 0.9, 0.3), (far, 0.45, 0.4))]
    merged = merge(levels, TestOptions(**TWO, merge=how), tiny.PRESET)
    masks = dict(zip(map(tuple, merged["boxes"].tolist()), merged["mask_probs"].amax(dim=(1, 2, 3)), strict=True))
    expected = {tuple(shifted): 0.3, tuple(far): 0.4, tuple(b): 0.2}
    if how == "soft_nms":
        expected[tuple(a)] = 0.1
        scores = dict(zip(map(tuple, merged["boxes"].tolist()), merged["scores"].tolist(), strict=True))
        assert scores[tuple(a)] == pytest.approx(0.5 * math.exp(-(0.8**2) / 0.55), abs=1e-5)
    assert {box: round(float(value), 3) for box, value in masks.items()} == expected


def test_masks_out_of_range_leave_with_their_boxes():
    options = TestOptions(**TWO, valid_ranges=((0, 20), (20, None)))
    small, large = [0.0, 0, 9, 9], [30.0, 30, 70, 70]
    level = found((small, 0.9, 0.6), (large, 0.8, 0.7))
    merged = merge([level, level], options, replace(tiny.PRESET, original_factor=1.0))
    assert merged["boxes"].tolist() == [small, large]
    assert [round(float(part.max()), 2) for part in merged["mask_probs"]] == [0.6, 0.7]


def test_results_have_the_mask_beside_the_box():
    detections = found(([1.0, 1.0, 3.0, 2.0], 0.5, 1.0), ([0.0, 0.0, 2.0, 2.0], 0.25, 0.4))
    first, second = coco_results(7, detections, (3, 4))
    assert list(first) == ["image_id", "category_id", "bbox", "score", "segmentation"]
    assert first["bbox"] == [1.0, 1.0, 2.0, 1.0]
    assert mask_of(first["segmentation"]) == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert second["segmentation"]["size"] == [3, 4]
    assert not any(any(row) for row in mask_of(second["segmentation"]))
    boxes_only = {name: value for name, value in detections.items() if name != "mask_probs"}
    expected = [{key: row[key] for key in row if key != "segmentation"} for row in (first, second)]
    assert coco_results(7, boxes_only, (3, 4)) == coco_results(7, boxes_only) == expected
    assert coco_results(7, found(), (3, 4)) == []


def mask_spec(detector: str = "mask_rcnn", base: str = "dst_frcnn_r50_fpn_1x") -> Spec:
    return tiny.with_detector(tiny.spec(base, steps=3), detector)


@pytest.mark.parametrize(
    ("detector", "base"),
    [("mask_rcnn", "dst_frcnn_r50_fpn_1x_dst"), ("cascade_mask_rcnn", "dst_frcnn_r50_fpn_1x")],
)
def test_masks_from_training_to_metrics(tiny_project, detector, base):
    spec = mask_spec(detector, base)
    written = []
    for _ in range(2):
        train_detector(spec)
        predict(spec, "single")
        score(spec, "single")
        written.append([file("tiny", spec.name).read_bytes() for file in (paths.detections, paths.metrics)])
    assert written[0] == written[1]  # byte for byte
    truth = read_json(paths.manifest("tiny").parent / "val.json")
    sizes = {image["id"]: [image["height"], image["width"]] for image in truth["images"]}
    results = read_json(paths.detections("tiny", spec.name))
    assert results
    for result in results:
        assert result["segmentation"]["size"] == sizes[result["image_id"]]
        x, y, w, h = result["bbox"]
        mask = decode([result["segmentation"]["counts"]], *sizes[result["image_id"]])[0]
        rows, columns = mask.nonzero()
        if len(rows):
            assert x - 0.501 <= columns.min() <= columns.max() + 1 <= x + w + 0.501
            assert y - 0.501 <= rows.min() <= rows.max() + 1 <= y + h + 0.501
    metrics = read_json(paths.metrics("tiny", spec.name))
    names = ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100"]
    names += ["ar_small", "ar_medium", "ar_large"]
    assert list(metrics)[-24:] == [*names, *(f"mask_{name}" for name in names)]
    replicates = read_json(paths.bootstrap("tiny", spec.name))
    assert len(replicates["mask_ap_small"]) == tiny.PRESET.verdicts.draws


def test_the_numbers_of_masks_are_those_of_the_masks(tiny_project):
    """Boxes that are right with masks that are not, and the other way round."""
    spec = mask_spec()
    truth = read_json(paths.manifest("tiny").parent / "val.json")
    whole, boxes = [], []
    for annotation in truth["annotations"]:
        size = annotation["segmentation"]["size"]
        nothing = encode_masks(torch.zeros(1, 1, 28, 28), torch.tensor([[0.0, 0, 9, 9]]), size)[0]
        result = {key: annotation[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5}
        boxes.append(result | {"segmentation": nothing})
        whole.append(result | {"bbox": [0, 0, 0.5, 0.5], "segmentation": annotation["segmentation"]})
    for results, ap, mask_ap in ((boxes, 1.0, 0.0), (whole, 0.0, 1.0)):
        write_json(paths.detections("tiny", spec.name), results)
        score(spec, "single")
        metrics = read_json(paths.metrics("tiny", spec.name))
        assert (metrics["ap"], metrics["mask_ap"]) == (ap, mask_ap)
        replicates = read_json(paths.bootstrap("tiny", spec.name))
        assert set(replicates["mask_ap"]) == {mask_ap}


def without_masks(split: str) -> None:
    """Take the masks out of a verified split, and let the manifest know it."""
    path = paths.manifest("tiny").parent / f"{split}.json"
    content = read_json(path)
    for annotation in content["annotations"]:
        annotation.pop("segmentation", None)
    write_json(path, content, indent=None)
    manifest = read_json(paths.manifest("tiny"))
    manifest["splits"][split]["sha256"] = sha256(path)
    write_json(paths.manifest("tiny"), manifest)


@pytest.mark.parametrize("split", ["train", "val"])
def test_data_without_masks_are_refused_before_training(tiny_project, split):
    without_masks(split)
    with pytest.raises(InputError, match=r"needs the `segmentation` of every object, but .* first annotation 1 of im"):
        train_detector(mask_spec())


def test_box_detectors_need_no_masks(tiny_project):
    spec, written = tiny.spec("dst_frcnn_r50_fpn_1x", steps=2), []
    for _ in range(2):
        train_detector(spec)
        predict(spec, "single")
        score(spec, "single")
        places = (paths.weights, paths.detections, paths.metrics)
        written.append([place("tiny", spec.name).read_bytes() for place in places])
        without_masks("train")
        without_masks("val")
    assert written[0] == written[1]
    assert b"mask" not in written[1][2]
    assert "segmentation" not in read_json(paths.detections("tiny", spec.name))[0]
