"""Merging detections over resolutions and writing them, by hand."""

import msgspec
import pytest
import tiny
import torch
from torch import Tensor, nn

from pipeline import paths
from pipeline.files import read_json
from pipeline.models import build_detector
from pipeline.options import Test as TestOptions
from pipeline.prediction.detector import coco_results, detect_all, load_detect, merge, predict
from pipeline.training.detection import train_detector

CPU = torch.device("cpu")
PRESET = msgspec.structs.replace(tiny.PRESET, original_factor=0.5)  # valid ranges are halved


def found(*rows: tuple[list[float], float, int]) -> dict[str, Tensor]:
    """Return detections of (box, score, label) rows."""
    return {
        "boxes": torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor([row[1] for row in rows], dtype=torch.float32),
        "labels": torch.tensor([row[2] for row in rows], dtype=torch.int64),
    }


def rows_of(detections: dict[str, Tensor]) -> list[tuple[list[float], float, int]]:
    scores = [round(score, 5) for score in detections["scores"].tolist()]
    return list(zip(detections["boxes"].tolist(), scores, detections["labels"].tolist(), strict=True))


A, A_SHIFTED, B = [0.0, 0, 10, 10], [0.0, 0, 10, 8], [50.0, 50, 70, 70]  # IoU of the first two: 0.8
TWO = {"short_sides": (800, 480), "long_sides": (1333, 800)}


def test_nms_over_resolutions():
    first, second = found((A, 0.5, 1), (B, 0.4, 2)), found((A_SHIFTED, 0.9, 1), (A, 0.3, 2))
    merged = merge([first, second], TestOptions(**TWO), PRESET)
    assert rows_of(merged) == [(A_SHIFTED, 0.9, 1), (B, 0.4, 2), (A, 0.3, 2)]  # classes do not suppress each other


def test_nms_cuts_at_the_presets_number_of_detections():
    levels = [found(*(([20.0 * i, 0, 20.0 * i + 10, 10], 0.9 - 0.01 * i - 0.005 * level, 1) for i in range(8)))
              for level in range(2)]  # fmt: skip
    boxes = [{**levels[0]}, {**levels[1], "boxes": levels[1]["boxes"] + 500}]
    merged = merge(boxes, TestOptions(**TWO), PRESET)
    assert len(merged["scores"]) == 10  # of 16
    assert merged["scores"].tolist() == sorted(torch.cat([b["scores"] for b in boxes]).tolist(), reverse=True)[:10]


@pytest.mark.parametrize("how", ["nms", "soft_nms"])
def test_detections_out_of_range_are_dropped(how):
    options = TestOptions(**TWO, valid_ranges=((0, 20), (20, None)), merge=how)  # 10 pixels in these files
    small, border, large = [0.0, 0, 9, 9], [100.0, 0, 110, 10], [0.0, 100, 30, 130]
    level = found((small, 0.9, 1), (border, 0.8, 1), (large, 0.7, 1))
    far = {**level, "boxes": level["boxes"] + 1000}
    merged = merge([level, far], options, PRESET)
    expected = [small, border, [side + 1000 for side in border], [side + 1000 for side in large]]
    assert sorted(merged["boxes"].tolist()) == sorted(expected)  # ranges are closed: 10 is in both


def test_one_resolution_stays_as_it_is_but_for_its_range():
    level = found((A, 0.5, 1), (A_SHIFTED, 0.9, 1))
    assert merge([level], TestOptions(), PRESET) is level
    options = TestOptions(valid_ranges=((0, 20),))
    assert rows_of(merge([found((A, 0.5, 1), (B, 0.9, 1))], options, PRESET)) == [(A, 0.5, 1)]


@pytest.mark.parametrize("how", ["nms", "soft_nms"])
def test_nothing_detected(how):
    options = TestOptions(**TWO, valid_ranges=((0, 20), (20, None)), merge=how)
    merged = merge([found(), found()], options, PRESET)
    assert {name: len(value) for name, value in merged.items()} == {"boxes": 0, "scores": 0, "labels": 0}
    assert merged["boxes"].shape == (0, 4)


def test_coco_results_are_rounded_widths_and_heights():
    detections = found(([1.00049, 2.0, 11.00051, 5.12349], 0.12345649, 3), ([0.0, 0.0, 0.5, 0.25], 1.0, 1))
    assert coco_results(7, detections) == [
        {"image_id": 7, "category_id": 3, "bbox": [1.0, 2.0, 10.0, 3.123], "score": 0.123456},
        {"image_id": 7, "category_id": 1, "bbox": [0.0, 0.0, 0.5, 0.25], "score": 1.0},
    ]
    assert coco_results(7, found()) == []


class WholeImage(nn.Module):
    """Detects one object as large as the image given, of a class that names the image."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[list[tuple[int, int]]] = []

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        self.shapes.append([tuple(image.shape[1:]) for image in images])
        return [found(([0, 0, i.shape[2], i.shape[1]], 0.5, tiny.image_row(i) + 1)) for i in images]


def test_detections_come_back_in_file_pixels_and_file_order():
    sizes = [(30, 40), (40, 30), (33, 47), (50, 20)] * 3
    data = tiny.FakeSet(sizes, [[] for _ in sizes])
    model = WholeImage()
    results = detect_all(model, data, tiny.PRESET, 800, 1333, "fp32", CPU, "test")
    for row, ((height, width), result) in enumerate(zip(sizes, results, strict=True)):
        assert result["labels"].tolist() == [row + 1]
        torch.testing.assert_close(result["boxes"], torch.tensor([[0.0, 0, width, height]]))
    assert [len(batch) for batch in model.shapes] == [8, 4]
    landscape = [[height <= width for height, width in batch] for batch in model.shapes]
    assert landscape == [[True] * 6 + [False] * 2, [False] * 4]  # orientations are kept together
    assert model.shapes[0][0] == (80, 107)


def test_predictions_of_two_resolutions_are_written_in_order(tiny_project):
    spec = tiny.c4("snip_drfcn_r50_7ep_ms_train", steps=2)
    train_detector(spec)
    predict(spec, "ms_test")
    ranges = read_json(paths.ranges("tiny", paths.evaluation_name(spec.name, "ms_test")))
    assert [half["images"] for half in ranges["halves"]] == [2, 2]
    results = read_json(paths.detections("tiny", paths.evaluation_name(spec.name, "ms_test")))
    assert results
    ids = [result["image_id"] for result in results]
    assert ids == sorted(ids)
    assert max(ids.count(number) for number in set(ids)) <= tiny.PRESET.model.detections
    for result in results:
        x, y, w, h = result["bbox"]
        assert min(x, y) >= 0
        assert max(x + w, y + h) <= 64.001
        assert 0 < result["score"] <= 1


def test_suppression_waits_for_all_resolutions_where_soft_nms_or_ranges_follow(monkeypatch):
    spec = tiny.spec("msfm_frcnn_r50_fpn_1x")
    monkeypatch.setattr("pipeline.prediction.detector.load_detector", lambda spec, classes, *_: build_detector(spec, 3))
    limits = {}
    for name, options in {
        "plain": TestOptions(),
        "several": TestOptions(**TWO),
        "soft": TestOptions(**TWO, merge="soft_nms"),
        "ranges": TestOptions(**TWO, valid_ranges=((0, 20), (20, None))),
    }.items():
        heads = load_detect(spec, options, 3, CPU).roi_heads
        limits[name] = heads.nms_thresh, heads.detections_per_img
    assert limits == {"plain": (0.5, 10), "several": (0.5, 10), "soft": (None, None), "ranges": (None, None)}


def test_workers_change_no_detection(tiny_project, monkeypatch):
    spec = tiny.spec("dst_frcnn_r50_fpn_1x", steps=1)
    train_detector(spec)
    found = []
    for workers in ("0", "2"):
        monkeypatch.setenv("SCALEWISE_WORKERS", workers)
        predict(spec, "single")
        found.append(paths.detections("tiny", paths.evaluation_name(spec.name, "single")).read_bytes())
    assert found[0] == found[1]
