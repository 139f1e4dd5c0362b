"""The whole catalogue: planned for preset `full` by both doors, written from whatever there is, entered by hand."""

import re
import time

import pytest
import yaml
from graph_project import ROOT, copy_project

from pipeline import paths
from pipeline.graph import declared
from pipeline.graph.invented import write_results
from pipeline.published.tables import load_published

pytestmark = pytest.mark.slow

CATALOGUE = yaml.safe_load((ROOT / "data/published/experiments.yaml").read_text())
TABLES = {table.id for paper in paths.PAPERS for table in load_published(paper).tables}
DST = "dst_frcnn_r50_fpn_1x_dst"


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A copy of the project in which one line was changed: the preset's name."""
    project = copy_project(tmp_path_factory.mktemp("full") / "project")
    params = project.root / "params.yaml"
    params.write_text(params.read_text().replace("preset: mini", "preset: full", 1))
    project.run("dvc", "repro", "--single-item", "code")
    project.ran()
    return project


def experiments_in(text: str, pattern: str) -> set[str]:
    return {paths.split_evaluation(name)[0] for name in re.findall(pattern, text)}


def test_dvc_lists_every_experiment_and_table_for_preset_full(full):
    # Without --force DVC 3.67 looks for the stage in its run cache, and fails on inputs that are still to be made.
    text = full.run("dvc", "repro", "--dry", "--force").stdout
    stages = set(re.findall(r"^Running stage '([^']+)':$", text, re.M))
    assert set(CATALOGUE) <= experiments_in(text, r"Running stage '[^']*@(\w+)':")
    assert {name.rpartition(":")[2] for name in stages if "/tables/" in name} >= TABLES
    commands = [line for line in text.splitlines() if line.startswith("> python") and "code" not in line]
    assert all("--preset full" in line for line in commands)
    assert full.ran() == set()


def test_snakemake_lists_every_experiment_and_table_for_preset_full(full):
    text = full.run("snakemake", "--dry-run").stdout
    assert set(CATALOGUE) <= experiments_in(text, r"pipeline\.graph\.job \S+@(\w+) ")
    assert set(re.findall(r"/tables/dvc\.yaml:(\w+) ", text)) >= TABLES
    assert "reports/full/tables/dst_t5.md" in text
    assert full.ran() == set()


def test_tables_are_written_from_what_there_is_and_the_rest_stays_out_of_date(tmp_path, monkeypatch):
    project = copy_project(tmp_path / "project", fake=False)
    monkeypatch.chdir(project.root)
    known = declared.stages(project.root)
    write_results("mini", known)
    lacking = project.root / paths.metrics("mini", DST)  # a row of nine tables
    lacking.unlink()
    read = {project.root / dep for stage in known.values() if "/tables/" in stage.address for dep in stage.deps}
    for path in read - {lacking}:  # what is neither a result nor made by the code: only its existence counts
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}\n")
    said = project.run("python", "-m", "pipeline.graph", "tables").stdout
    affected = {a.rpartition(":")[2] for a, s in known.items() if str(paths.metrics("mini", DST)) in s.deps} & TABLES
    assert {"dst_t2", "dst_t5", "dst_t11", "dst_s4_6"} <= affected
    assert "44 tables are written: reports/mini/tables" in said
    waiting = re.search(r"goes on calling them out of date: (.*)\.\n", said)[1].split(", ")
    assert set(waiting) & TABLES == affected
    assert {path.stem for path in (project.root / "reports/mini/tables").glob("*.md")} == TABLES
    assert "| not run |" in (project.root / "reports/mini/tables/dst_t2.md").read_text()
    status = project.run("dvc", "status", "workflow/papers/dst/tables/dvc.yaml:dst_t3").stdout
    assert "up to date" in status
    status = project.run("dvc", "status", "workflow/papers/dst/tables/dvc.yaml:dst_t2").stdout
    assert "deleted:" in status
    plan = project.run("snakemake", "--dry-run", "reports/mini/tables/dst_t2.md").stdout
    assert f"evaluate@{DST}" in plan


def test_results_of_stage_modules_run_by_hand_are_entered(tmp_path):
    project = copy_project(tmp_path / "project")
    project.build("headline_dst_t2")
    project.ran()
    path = project.root / f"workflow/papers/dst/experiments/{DST}.yaml"
    path.write_text(path.read_text().replace("components: 4", "components: 9"))
    refused = project.run("python", "-m", "pipeline.graph", "enter", "headline_dst_t2").stdout
    assert f"older than an input, left alone  workflow/papers/dst/dvc.yaml:train@{DST}" in refused
    assert "0 of the 2 stages" in refused  # the training and the table, which reads its file; the rest stands above
    time.sleep(1.1)
    for script in ("train", "predict", "evaluate"):
        project.run("python", "-m", f"pipeline.stages.{script}", DST, "--preset", "mini")
    project.run("python", "-m", "pipeline.stages.table", "dst_t2", "--headline", "--preset", "mini")
    said = project.run("python", "-m", "pipeline.graph", "enter", "headline_dst_t2").stdout
    assert "4 of the 4 stages of headline_dst_t2 that were out of date are entered." in said
    assert "Nothing to be done" in project.run("snakemake", "--dry-run", "reports/mini/headline/dst_t2.md").stdout
    project.ran()
    assert "headline_dst_t2 is up to date" in project.build("headline_dst_t2")
    assert project.ran() == set()
