"""The SLURM profile, as far as a machine without SLURM allows: stand-ins of its commands run the jobs here."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipeline import paths
from pipeline.graph import declared

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "graph"))
from graph_project import Project, copy_project

BIN = Path(__file__).resolve().parent / "bin"
PROFILE = paths.ROOT / "workflow/profiles/slurm/profile.yaml"
WEIGHTS = "data/runs/mini/dst_frcnn_r50_fpn_1x/weights.safetensors"
FAST = ("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1", "--latency-wait", "5")


class Cluster:
    """A project on a cluster that is this machine."""

    def __init__(self, project: Project, folder: Path):
        folder.mkdir()
        shutil.copytree(BIN.parent, folder / "cluster", ignore=shutil.ignore_patterns("__pycache__", "test_*"))
        (folder / "cluster/bin/squeue").write_text("#!/bin/sh\nexit 1\n")
        (folder / "cluster/bin/squeue").chmod(0o755)
        self.project, self.folder = project, folder / "jobs"
        self.folder.mkdir()
        environment = project.environment
        environment["PATH"] = f"{folder / 'cluster/bin'}{os.pathsep}{environment['PATH']}"
        environment |= {"CLUSTER_STAND_IN": str(self.folder), "SCALEWISE_PROCESSES": "8", "HOME": str(folder)}

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ("snakemake", "--workflow-profile", "workflow/profiles/slurm", *FAST, *arguments)
        return self.project.run(*command, check=check)

    def calls(self) -> dict[str, list[str]]:
        """Return the arguments of every sbatch call, by the rule of its job."""
        found = {}
        for path in sorted(self.folder.glob("*.call")):
            arguments = json.loads(path.read_text())
            found[arguments[arguments.index("--comment") + 1].split("_wildcards_")[0].removeprefix("rule_")] = arguments
        return found

    def states(self) -> set[str]:
        return {path.read_text() for path in self.folder.glob("*.state")}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(copy_project(tmp_path / "project"), tmp_path / "slurm")


def test_the_profile_names_rules_that_exist():
    """A rule's name misspelt in the profile would be ignored without a word."""
    profile = yaml.safe_load(PROFILE.read_text())
    rules = {kind.name for kind in declared.kinds(declared.stages())}
    assert set(profile["set-resources"]) | set(profile["set-threads"]) <= rules
    assert {"train", "pretrain", "predict", "propose"} <= set(profile["set-resources"])
    for rule in ("train", "pretrain"):
        asked = profile["set-resources"][rule]
        assert not {"gpu", "nodes"} & set(asked)  # the machine's `processes` and `nodes` say how many
        assert "TERM" in asked["slurm_extra"]
    assert profile["slurm-requeue"]


@pytest.mark.slow
def test_a_dry_run_with_the_profile_lists_the_jobs(cluster):
    text = cluster.snakemake("--dry-run", WEIGHTS).stdout
    assert "rule train:" in text
    assert "gpu=8" in text
    assert "python -m pipeline.graph.job workflow/papers/dst/dvc.yaml:train@dst_frcnn_r50_fpn_1x" in text
    assert not list(cluster.folder.iterdir())


@pytest.mark.slow
def test_stages_run_as_jobs_with_the_gpus_that_they_ask_for(cluster):
    cluster.snakemake(WEIGHTS)
    assert (cluster.project.root / WEIGHTS).is_file()
    assert {"synthesize", "verify", "pretrain@resnet50"} < cluster.project.ran()
    calls = cluster.calls()
    assert set(calls) == {"synthesize", "verify", "pretrain", "train"}
    train, verify = " ".join(calls["train"]), " ".join(calls["verify"])
    options = (
        "--gpus=8",
        "--nodes=1",
        "--cpus-per-task=32",
        "--signal=TERM@300",
        "--requeue",
        "-t 1440",
        "--mem 128000",
    )
    for text in options:
        assert text in train, text
    assert "--export=ALL" in train  # SCALEWISE_PROCESSES reaches the node
    assert "-p all" in verify
    assert "--gpus" not in verify
    assert "-t 240" in verify
    script = next(p.read_text() for p in cluster.folder.glob("*.script") if "'train:" in p.read_text())
    assert "--executor slurm-jobstep" in script
    steps = (cluster.folder / "steps").read_text().splitlines()
    assert len(steps) == 4
    assert all("-n1" in step and "--nodes=1" in step for step in steps)  # one process of Snakemake, on one node
    assert cluster.states() == {"COMPLETED"}
    assert "Nothing to be done" in cluster.snakemake("--dry-run", WEIGHTS).stdout
    assert len(list(cluster.folder.glob("*.call"))) == 4


@pytest.mark.slow
def test_a_failed_job_is_sent_again_and_then_named(cluster):
    cluster.project.environment["FAIL"] = "verify"
    done = cluster.snakemake("--retries", "1", WEIGHTS, check=False)
    assert done.returncode == 1
    assert "the fake stage verify was told to fail" in done.stdout  # the stage's own log is shown
    assert sum("verify" in path.read_text() for path in cluster.folder.glob("*.script")) == 2


OUTS = """
outs = "data/runs/mini/NAME/weights.safetensors reports/mini/metrics/NAME_training.json reports/mini/history/NAME.csv"
for name in outs.replace("NAME", sys.argv[1]).split():
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
"""
TRAINING = '''"""Counts to three, with a checkpoint at SIGTERM only; the next start goes on from there."""

import os, pathlib, signal, sys, time

state = pathlib.Path("data/scratch/state.txt")
state.parent.mkdir(parents=True, exist_ok=True)
done = int(state.read_text()) if state.exists() else 0
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
for step in range(done, 3):
    with open("steps.txt", "a") as log:
        log.write(f"{step + 1} of job {os.environ['SLURM_JOB_ID']}\\n")
    if not done and step == 1:
        pathlib.Path(os.environ["CLUSTER_STAND_IN"], "ready").touch()
        while not asked:
            time.sleep(0.1)
        state.write_text(str(step + 1))
        sys.exit(143)
'''


@pytest.mark.slow
def test_a_preempted_training_saves_its_step_and_goes_on_in_the_same_job(cluster):
    """SIGTERM reaches the step's own process alone, a Snakemake, which passes it on."""
    (cluster.project.root / "pipeline/stages/train.py").write_text(TRAINING + OUTS)
    (cluster.folder / "preempt").write_text("train")
    cluster.snakemake(WEIGHTS)
    assert (cluster.folder / "signalled").exists()
    assert not (cluster.folder / "killed").exists()  # all was gone before the end of the grace
    steps = (cluster.project.root / "steps.txt").read_text().splitlines()
    assert [line.split()[0] for line in steps] == ["1", "2", "3"]  # nothing twice
    assert len({line.split()[-1] for line in steps}) == 1  # one job, requeued
    assert cluster.states() == {"COMPLETED"}


NODES = '''"""Starts itself on every node, as a training does, and leaves a line in each process."""

import os, pathlib, sys

from pipeline.launch import spread

spread("pipeline.stages.train")
with open("world.txt", "a") as log:
    log.write(" ".join(os.environ[name] for name in ("RANK", "WORLD_SIZE", "GROUP_RANK", "LOCAL_RANK")) + "\\n")
'''


@pytest.mark.slow
def test_a_training_on_two_nodes_is_one_job(cluster):
    cluster.project.environment |= {"SCALEWISE_NODES": "2", "SCALEWISE_PROCESSES": "2"}
    (cluster.project.root / "pipeline/stages/train.py").write_text(NODES + OUTS)
    cluster.snakemake(WEIGHTS)
    train = " ".join(cluster.calls()["train"])
    for text in ("--nodes=2", "--ntasks=2", "--gres=gpu:2", "--cpus-per-task=32"):
        assert text in train, text
    assert "--gpus" not in train
    assert "ntasks-per-gpu" not in train
    step = (cluster.folder / "steps").read_text().splitlines()[-1]
    assert "--nodes=2 --ntasks=2" in step  # the training's own srun
    world = sorted((cluster.project.root / "world.txt").read_text().split("\n"))
    assert [line.split()[:2] for line in world if line] == [[str(rank), "4"] for rank in range(4)]


@pytest.mark.slow
def test_a_real_stage_runs_as_a_job(tmp_path):
    """Parameters and multiply-adds of one experiment: the real command, code digests included."""
    cluster = Cluster(copy_project(tmp_path / "project", fake=False), tmp_path / "slurm")
    size = "reports/mini/metrics/dst_frcnn_r50_fpn_1x_size.json"
    cluster.snakemake(size)
    assert json.loads((cluster.project.root / size).read_text())["macs"] > 0
    assert cluster.states() == {"COMPLETED"}


@pytest.mark.slow
def test_an_ended_snakemake_leaves_a_folder_that_goes_on(cluster):
    environment = cluster.project.environment | {"NAP": "3"}
    command = ["snakemake", "--workflow-profile", "workflow/profiles/slurm", *FAST, WEIGHTS]
    process = subprocess.Popen(
        command, cwd=cluster.project.root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list(cluster.folder.glob("*.call")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)  # the login node went away
    process.wait()
    while cluster.states() & {"PENDING", "RUNNING"}:
        time.sleep(0.2)
    cluster.snakemake("--unlock")
    cluster.snakemake(WEIGHTS)
    assert (cluster.project.root / WEIGHTS).is_file()
