"""AP in mid-training: in the history after every so many epochs, equal to the evaluation's, and of no effect."""

import csv

import pytest
import tiny

from pipeline import paths
from pipeline.evaluation.scoring import score
from pipeline.files import read_json
from pipeline.parts import parts
from pipeline.prediction.detector import predict
from pipeline.settings import settings
from pipeline.training.detection import train_detector

DST = "dst_frcnn_r50_fpn_1x_dst"


def rows(name: str) -> list[dict[str, str]]:
    with open(paths.history("tiny", name), newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_a_training_with_validations(tiny_project):
    """6 steps are 12 epochs: every 4 epochs are 2 steps, and the history has a row for each 2."""
    train_detector(tiny.spec(DST))
    plain, weights = rows(DST), paths.weights("tiny", DST).read_bytes()
    spec = tiny.spec(DST, validate_epochs=4)
    train_detector(spec)
    found = rows(DST)
    assert paths.weights("tiny", DST).read_bytes() == weights
    assert [{name: row[name] for name in plain[0]} for row in found] == plain
    assert all(row["val_ap"] and row["val_ap50"] for row in found)
    predict(spec, "single")
    score(spec, "single")
    metrics = read_json(paths.metrics("tiny", DST))
    assert float(found[-1]["val_ap"]) == pytest.approx(metrics["ap"], abs=1e-6)
    assert float(found[-1]["val_ap50"]) == pytest.approx(metrics["ap50"], abs=1e-6)


@pytest.mark.slow
def test_the_first_and_the_last_epoch_of_a_long_interval(tiny_project):
    train_detector(tiny.spec(DST, validate_epochs=8))  # 4 steps, and the last
    assert [bool(row["val_ap"]) for row in rows(DST)] == [False, True, True]


def test_without_it_nothing_of_a_digest_changes():
    off, on = tiny.spec(DST), tiny.spec(DST, validate_epochs=1)
    assert not [line for line in settings(off, "train") if "validate" in line]
    assert set(settings(on, "train")) - set(settings(off, "train")) == {"preset.training.validate_epochs: 1"}
    assert settings(on, "predict") == settings(off, "predict")
    assert set(parts(on, "train")) - set(parts(off, "train")) == {"pipeline.prediction.validating"}
    proposes = tiny.spec("snip_rpn_r101_6ep_single_scale_800", validate_epochs=1)  # has no AP
    assert "pipeline.prediction.validating" not in parts(proposes, "train")
