"""DVC's own experiments: `dvc exp run -S` on a key of an experiment's file runs what it can change, and is shown."""

import csv
import io

import pytest
from graph_project import copy_project

NAME = "dst_frcnn_r50_fpn_1x_dst"
FILE = f"workflow/papers/dst/experiments/{NAME}.yaml"
TARGET = f"workflow/papers/dst/dvc.yaml:evaluate@{NAME}"


@pytest.mark.slow
def test_an_experiment_of_dvc_changes_a_key_of_a_file(tmp_path):
    project = copy_project(tmp_path / "project")
    project.run("dvc", "repro", TARGET)
    before = project.ran()
    project.commit()
    project.run("dvc", "exp", "run", "--name", "higher", "-S", f"{FILE}:method.collage.threshold=0.3", TARGET)
    again = project.ran()
    assert f"workflow/papers/dst/dvc.yaml:train@{NAME}" in again
    assert "pretrain@resnet50" in before - again
    assert "threshold: 0.3" in (project.root / FILE).read_text()
    shown = project.run("dvc", "exp", "show", "--only-changed", "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(shown[shown.index("Experiment,") :])))
    (key,) = (column for column in rows[0] if column.endswith("method.collage.threshold"))
    assert {row[key] for row in rows if row["Experiment"] == "higher"} == {"0.3"}
    assert {row[key] for row in rows if row["rev"] == "main"} == {"0.1"}
    project.run("git", "checkout", "-q", ".")
    assert "threshold: 0.1" in (project.root / FILE).read_text()
