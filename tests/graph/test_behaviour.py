"""What a user may rely on, on a copy of the project with the real graph and fake stages."""

import os
import signal
import subprocess
import time

import pytest
import yaml
from graph_project import copy_project

pytestmark = pytest.mark.slow

DST = "dst_frcnn_r50_fpn_1x_dst"
DST_FILE = f"workflow/papers/dst/experiments/{DST}.yaml"
DST_STAGES = {f"workflow/papers/dst/dvc.yaml:{stage}@{DST}" for stage in ("train", "predict", "evaluate")}
DST_TABLE = "workflow/papers/dst/tables/dvc.yaml:headline_dst_t2"
TRAINING = ("pretrain@", "train@", "learn_scales@", "decompose@", "propose@", "predict@", "evaluate@")
RESCORED = ("verify", "evaluate@", "headline_pod_t5")  # DVC's run cache does not keep stages with plain outputs in git
NOTHING = "Data and pipelines are up to date."


@pytest.fixture(scope="module")
def first_build(tmp_path_factory):
    """A project in which `quickstart` was built once and committed."""
    project = copy_project(tmp_path_factory.mktemp("graph") / "project")
    said = project.build()
    assert "quickstart is built: reports/mini/index.md" in said
    assert f"train {DST} " in said
    ran = project.ran()
    tables = ("pod_t2", "pod_t3", "pod_t5", "dst_t2", "msfm_t4", "snip_t2", "psconv_t8")
    assert {name.rpartition(":")[2] for name in ran if "/tables/" in name} == {f"headline_{name}" for name in tables}
    assert not any(name.endswith(("dst_all_collage", "reweight", "random", "report")) for name in ran)
    ignores = {str(path.relative_to(project.root)) for path in project.root.rglob(".gitignore")}
    assert ignores == {".gitignore", ".dvc/.gitignore"}
    project.commit()
    return project


@pytest.fixture
def built(first_build):
    """The built project; what a test changes is taken back after it."""
    first_build.ran()
    yield first_build
    first_build.reset()


def edit(project, percent):
    path = project.root / DST_FILE
    path.write_text(path.read_text().replace("threshold: 0.1", f"threshold: 0.{percent:02d}"))


def nothing_to_do(project, target="quickstart", flags=()):
    """Assert that both doors have nothing to do for a target, and that no stage runs."""
    table = target.removeprefix("headline_")
    stage = target if table == target else f"workflow/papers/{table[:3]}/tables/dvc.yaml:{target}"
    output = target if table == target else f"reports/mini/headline/{table}.md"
    assert NOTHING in project.run("dvc", "repro", *flags, stage).stdout
    assert "Nothing to be done" in project.run("snakemake", "--cores", "2", output).stdout
    assert project.ran() == set()


def test_both_doors_run_the_same_stages_and_leave_the_same_locks(built):
    table = "reports/mini/headline/dst_t2.md"
    assert "Nothing to be done" in built.run("snakemake", "--cores", "2", table).stdout
    edit(built, 16)
    built.run("snakemake", "--cores", "2", table)
    assert built.ran() == DST_STAGES | {DST_TABLE}
    nothing_to_do(built, "headline_dst_t2")
    changes = built.run("git", "diff").stdout
    built.reset()
    os.rename(built.root / ".dvc/cache/runs", built.root.parent / "runs")  # DVC shall run the stages, not restore them
    edit(built, 16)
    built.run("dvc", "repro", DST_TABLE)
    os.rename(built.root / ".dvc/cache/runs", built.root.parent / "later_runs")
    os.rename(built.root.parent / "runs", built.root / ".dvc/cache/runs")
    assert built.ran() == DST_STAGES | {DST_TABLE}
    assert built.run("git", "diff").stdout == changes


def test_a_second_build_does_nothing(built):
    assert "quickstart is up to date" in built.build()
    assert built.ran() == set()
    assert built.run("git", "status", "--short").stdout == ""


def test_an_edited_experiment_reruns_its_own_stages_and_what_is_above(built):
    edit(built, 9)
    built.build()
    ran = built.ran()  # what is above: intervals of one comparison may be pooled with those of all others
    assert {name for name in ran if name.rpartition(":")[2].startswith(TRAINING)} == DST_STAGES
    assert ran > DST_STAGES | {DST_TABLE, "figures", "gallery@dst", "quickstart", "page_dst"}
    nothing_to_do(built)


def test_an_edit_of_report_code_trains_nothing(built):
    path = built.root / "pipeline/stages/table.py"
    path.write_text(path.read_text() + "EDIT = 1\n")
    built.build("headline_dst_t2")
    assert built.ran() == {DST_TABLE}


def test_another_preset_and_back_trains_nothing(built):
    text = (built.root / "workflow/presets/mini.yaml").read_text()
    (built.root / "workflow/presets/own.yaml").write_text(text.replace("name: mini", "name: own", 1))
    (built.root / "params.yaml").write_text("preset: own\n")
    assert "reports/own/headline/pod_t5.md" in built.build("headline_pod_t5")
    assert sum("train@" in name for name in built.ran()) == 4  # with one pre-training
    built.run("git", "checkout", "-q", "params.yaml")
    assert "train pod_frcnn_r50_fpn_1x_fd_wt" in built.build("headline_pod_t5")
    ran = {name.rpartition(":")[2] for name in built.ran()}
    assert all(name.startswith(RESCORED) for name in ran), ran
    nothing_to_do(built, "headline_pod_t5")
    changed = built.run("git", "status", "--short", "reports/mini", "*.lock").stdout.split()
    assert changed in ([], ["M", "dvc.lock"])
    before = yaml.safe_load(built.run("git", "show", "HEAD:dvc.lock").stdout)["stages"]
    after = yaml.safe_load((built.root / "dvc.lock").read_text())["stages"]
    assert {name for name in before if before[name] != after[name]} <= {"code"}  # which reads that there is one more


def test_a_clone_accepts_the_committed_results(built, tmp_path):
    clone = built.clone(tmp_path / "clone")
    said = clone.run("python", "-m", "pipeline.graph", "accept").stdout
    assert "quickstart is accepted as committed" in said
    nothing_to_do(clone, flags=["--allow-missing"])
    assert clone.run("git", "status", "--short").stdout == ""
    edit(clone, 9)
    refused = clone.run("python", "-m", "pipeline.graph", "accept", check=False)
    assert refused.returncode == 2
    assert f"train@{DST}" in refused.stdout
    assert clone.ran() == set()


def test_a_clone_without_cache_rebuilds_to_the_same_bytes(built, tmp_path):
    clone = built.clone(tmp_path / "clone")
    assert "12 of the 16 stages" in clone.build("headline_pod_t5")  # git holds what `measure` and `table` made
    assert sum("train@" in name for name in clone.ran()) == 4
    assert clone.run("git", "status", "--short").stdout == ""
    assert "headline_pod_t5 is up to date" in clone.build("headline_pod_t5")


def test_a_clone_on_another_processor_goes_on_without_training_again(built, tmp_path):
    clone = built.clone(tmp_path / "clone")
    edit(clone, 49)
    command = ["python", "-m", "pipeline.graph", "build", "headline_dst_t2", "--cores", "2", "--allow-missing"]
    said = clone.run(*command, ROUNDING="other").stdout
    assert "Making again, for others start from them: pretrain@resnet50." in said
    assert "data/init/mini/resnet50.safetensors came out with other bytes" in said
    assert clone.ran() == DST_STAGES | {DST_TABLE, "synthesize", "verify", "pretrain@resnet50"}
    changed = {line[3:] for line in clone.run("git", "status", "--short").stdout.splitlines()}
    assert not {file for file in changed if "resnet50" in file or "fpn_1x_" in file.replace(f"{DST}", "")}, changed
    assert "headline_dst_t2 is up to date" in clone.run(*command).stdout
    nothing_to_do(clone, "headline_dst_t2", flags=["--allow-missing"])


def test_a_killed_build_goes_on(built):
    edit(built, 25)
    command = ["python", "-m", "pipeline.graph", "build", "headline_dst_t2", "--cores", "2"]
    process = subprocess.Popen(command, cwd=built.root, env=built.environment | {"NAP": "20"})
    log = built.root / "ran.txt"
    while not log.exists():
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)  # DVC and the stages live on for a while, as after a lost terminal
    process.wait()
    lock = built.root / "workflow/papers/dst/dvc.lock"
    lock.write_text("")  # what an interrupt while DVC writes leaves
    started = built.ran()
    assert {name.rpartition(":")[2] for name in started} == {f"train@{DST}"}
    said = built.build("headline_dst_t2")
    assert "left over from a killed build" in said
    assert "torn by a killed run" in said
    ran = built.ran()  # evaluations too, whose lock was torn; no other training
    assert started <= ran
    assert {name for name in ran if "evaluate@" not in name or DST in name} == DST_STAGES | {DST_TABLE}
    assert "headline_dst_t2 is up to date" in built.build("headline_dst_t2")


def test_a_failure_shows_the_end_of_its_log(built):
    edit(built, 36)
    command = ["python", "-m", "pipeline.graph", "build", "headline_dst_t2", "--cores", "2"]
    failed = built.run(*command, check=False, FAIL=DST_TABLE)
    assert failed.returncode == 1
    assert "headline dst_t2 failed. The last lines of logs/headline/dst_t2.log:" in failed.stdout
    assert f"the fake stage {DST_TABLE} was told to fail" in failed.stdout
    assert built.ran() == DST_STAGES
    built.run(*command)
    assert built.ran() == {DST_TABLE}


def test_an_unknown_target_is_said_in_one_sentence(built):
    unknown = built.run("python", "-m", "pipeline.graph", "build", "dst_t33", check=False)
    assert unknown.returncode == 2
    assert "No stage is called 'dst_t33'; did you mean 'dst_t" in unknown.stdout
