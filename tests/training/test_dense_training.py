"""Detectors without proposals through the pipeline: dynamic scale training, prediction, and what the feedback saw."""

import pytest
import tiny

from pipeline import paths
from pipeline.files import read_json
from pipeline.prediction.detector import predict
from pipeline.training.detection import train_detector


@pytest.mark.parametrize("family", ["retinanet", "fcos"])
def test_dynamic_scale_training_reads_the_heads_losses(tiny_project, family):
    spec = tiny.with_detector(tiny.spec("dst_frcnn_r50_fpn_1x_dst", steps=4), family)
    train_detector(spec)
    summary = read_json(paths.training_summary("tiny", spec.name))
    assert summary["collage_share"] > 0  # the first step is a collage
    history = paths.history("tiny", spec.name).read_text().splitlines()
    columns = [dict(zip(history[0].split(","), row.split(","), strict=True)) for row in history[1:]]
    shares = [sum(float(row[f"{size}_share"]) for size in ("small", "medium", "large")) for row in columns]
    assert shares == pytest.approx([1.0] * len(shares), abs=1e-4)
    predict(spec, "single")
    assert isinstance(read_json(paths.detections("tiny", spec.name)), list)
