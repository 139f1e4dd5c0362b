"""Core-hours of results: summed over sittings, replaced when run anew, shown by kind and experiment."""

import csv

import pytest

from pipeline import paths
from pipeline.errors import InputError
from pipeline.graph import spent
from pipeline.graph.declared import Stage

NAMES = (
    "p:train@dst_frcnn_r50_fpn_1x",
    "p:predict@dst_frcnn_r50_fpn_1x__single",
    "pretrain@resnet50",
    "p:table@dst_t2",
)
KNOWN = {name: Stage(name, "", (), ()) for name in NAMES}
TRAIN, PREDICT, PRETRAIN, TABLE = NAMES


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Record below a folder of its own; experiments are the project's."""
    monkeypatch.setattr(spent, "place", lambda preset, suffix="csv": tmp_path / f"hours.{suffix}")
    monkeypatch.setattr(spent, "cpu_model", lambda: "a processor")
    return tmp_path


def ended(stage, seconds, code=0, ran=True):
    return {"stage": stage, "log": "", "exit": code, "seconds": seconds, "ran": ran}


def rows(folder):
    with open(folder / "hours.csv") as file:
        return {row["stage"]: (float(row["core_seconds"]), row["ended"]) for row in csv.DictReader(file)}


def test_sittings_add_up_until_a_stage_has_ended_and_a_new_run_replaces_it(project):
    spent.add([ended(TRAIN, 100.0, code=1), ended(TRAIN, 50.0, code=130)], KNOWN, "mini", 1)
    assert rows(project) == {"train@dst_frcnn_r50_fpn_1x": (150.0, "False")}
    assert "Not finished: dst_frcnn_r50_fpn_1x." in (project / "hours.md").read_text()
    spent.add([ended(TRAIN, 25.0)], KNOWN, "mini", 1)
    assert rows(project) == {"train@dst_frcnn_r50_fpn_1x": (175.0, "True")}
    spent.add([ended(TRAIN, 90.0)], KNOWN, "mini", 2)
    assert rows(project) == {"train@dst_frcnn_r50_fpn_1x": (180.0, "True")}


def test_more_blocks_add_to_those_that_are_there(project, monkeypatch):
    monkeypatch.setattr(spent, "blocks_of", lambda experiment, preset: 3)
    spent.add([ended(TRAIN, 300.0)], KNOWN, "mini", 1)
    monkeypatch.setattr(spent, "blocks_of", lambda experiment, preset: 5)
    spent.add([ended(TRAIN, 200.0)], KNOWN, "mini", 1)
    assert rows(project) == {"train@dst_frcnn_r50_fpn_1x": (500.0, "True")}


def test_pages_and_what_came_from_the_cache_took_nothing(project):
    spent.add([ended(TABLE, 3.0), ended(TRAIN, 1.0, ran=False), ended("gone:train@x", 1.0)], KNOWN, "mini", 1)
    assert not (project / "hours.csv").exists()


def test_the_page_sums_by_kind_and_experiment(project):
    spent.add([ended(PRETRAIN, 1800.0), ended(TRAIN, 3600.0), ended(PREDICT, 360.0)], KNOWN, "mini", 1)
    text = (project / "hours.md").read_text()
    assert "**1.60 core-hours** in all: pre-training 0.50, training 1.00 and testing 0.10." in text
    assert "Measured on a processor: a job's time by the clock" in text
    assert "| dst_frcnn_r50_fpn_1x | 8 | 0.00 | 1.00 | 0.10 | 1.10 |" in text
    assert "| resnet50 | 8 | 0.50 | 0.00 | 0.00 | 0.50 |" in text


def test_a_record_of_something_else_is_one_sentence(project):
    (project / "hours.csv").write_text("stage,experiment\ntrain@x,x\n")
    with pytest.raises(InputError, match=r"is no record of hours .*remove it"):
        spent.add([ended(TRAIN, 1.0)], KNOWN, "mini", 1)


def test_the_record_lies_beside_the_index():
    assert spent.place("mini") == paths.ROOT / "reports/mini/hours.csv"
