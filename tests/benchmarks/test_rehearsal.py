"""The rehearsal: every experiment has its stages in the right order, a few run, failures are told, work is kept."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipeline import config, paths
from pipeline.benchmarks import rehearsal
from pipeline.errors import InputError

PAPERS = yaml.safe_load((paths.ROOT / rehearsal.CATALOGUE).read_text())
PLAN = rehearsal.planned()


@pytest.fixture(scope="module", autouse=True)
def preloaded():
    rehearsal.preload()


def rehearse(folder: Path, *names: str) -> dict[str, dict]:
    """Run some experiments and whatever they need in a folder, and return their rows.

    In a process of its own: where a test before this one computed a gradient, no forked process could compute any.
    """
    words = ["--scratch", str(folder / "work"), "--output", str(folder / "out"), "--names", *names]
    command = [sys.executable, "-m", "pipeline.benchmarks.rehearsal", *words]
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT)}
    subprocess.run(command, cwd=paths.ROOT, env=environment, check=False, capture_output=True)
    return {row["name"]: row for row in json.loads((folder / "out/rehearsal.json").read_text())["rows"]}


def test_all_experiments_of_the_papers_are_planned_after_what_they_need():
    assert len(PAPERS) == 212
    assert set(PAPERS) <= set(PLAN)
    place = {name: number for number, name in enumerate(PLAN)}
    assert place["pod_frcnn_r50_fpn_1x_gsl"] < place["pod_frcnn_r50_fpn_1x_fd"]
    assert place["snip_rpn_r101_6ep_single_scale_800"] < place["snip_drfcn_r50_7ep_snip"]
    assert place["snip_drfcn_dpn92_7ep_snip"] < place["snip_drfcn_dpn98_7ep_snip"]  # a member of its ensemble
    kinds = [stage.script for stage in PLAN["pod_frcnn_r50_fpn_1x_gsl"]]
    assert set(kinds) == {"train", "learn_scales", "decompose", "predict", "evaluate", "measure"}
    assert kinds.index("train") < kinds.index("learn_scales") < kinds.index("decompose")
    assert kinds.index("predict") < kinds.index("evaluate")


def test_every_test_of_every_experiment_is_evaluated():
    for name in PAPERS:
        experiment = config.resolve(name, rehearsal.PRESET).experiment
        scripts = [stage.script for stage in PLAN[name]]
        if experiment.detector == "classifier":
            assert scripts.count("pretrain") == 1, name
        else:
            assert scripts.count("predict") == scripts.count("evaluate") == len(experiment.tests), name


def test_a_few_experiments_run_through_and_are_kept(tmp_path):
    names = (
        "dst_frcnn_r50_fpn_1x_dst",
        "psconv_cls_r50_120ep_cos_psconv_t2_12",
        "snip_rpn_r50_6ep_snip_conv45_7anchor",
    )
    rows = rehearse(tmp_path, *names)
    assert set(rows) == {*names, "resnet50"}
    for name in names:
        assert rows[name]["failure"] is None, rows[name]["failure"]
        assert rows[name]["losses"]
        assert all(0 < loss < 1e4 for loss in rows[name]["losses"])
        assert rows[name]["steps"] >= 2
        assert rows[name]["of_the_papers"]
    dst, rpn = rows[names[0]], rows[names[2]]
    assert set(dst["tests"]) == {"single", "ms_test_m"}
    assert all(found["images"] == 8 and found["detections"] > 0 for found in dst["tests"].values())
    assert rpn["tests"]["single"]["metric"] == "ar"
    assert 0 <= rows[names[1]]["top1_error"] <= 1
    assert dst["parameters"] > 1000
    page = (tmp_path / "out/rehearsal.md").read_text()
    assert "**3 of 212 experiments of the papers ran through all their stages**" in page
    marks = {path: path.stat().st_mtime_ns for path in (tmp_path / "work/rows").iterdir()}
    assert rehearse(tmp_path, *names) == rows
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work/rows").iterdir()} == marks


@pytest.mark.slow
def test_every_family_runs_through(tmp_path):
    first: dict[str, str] = {}
    for name in PAPERS:
        first.setdefault(config.resolve(name, rehearsal.PRESET).experiment.detector, name)
    assert len(first) == 12  # ten detectors, proposal networks and classifiers
    rows = rehearse(tmp_path, *first.values(), "snip_drfcn_dpn98_7ep_snip", "dst_voc_frcnn_r50_fpn_24k_dst")
    assert {name: row["failure"] for name, row in rows.items() if row["failure"]} == {}
    assert set(first.values()) <= set(rows)
    assert {"ensemble", "flip", "rpn_without_snip"} <= set(rows["snip_drfcn_dpn98_7ep_snip"]["tests"])


def test_a_failure_and_a_stuck_process_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert rehearsal.in_child(lambda: None) is None
    failed = rehearsal.in_child(lambda: [][1])
    assert failed.startswith("IndexError: list index out of range (test_rehearsal.py, line ")
    assert rehearsal.in_child(lambda: time.sleep(60), 0.2) == "not done after 0.2 s"
    assert rehearsal.in_child(lambda: os._exit(3)) == "its process died"


def test_an_unknown_experiment_is_said_in_one_sentence():
    with pytest.raises(InputError, match="Unknown experiment 'pod_x'"):
        rehearsal.chosen(["pod_x"], PLAN)
