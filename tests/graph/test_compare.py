"""`make compare`: in which order things happen, what is skipped the second time, and one real run at a tiny size."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from graph_project import ROOT, Project, copy_project
from own_folder import write_folder, write_size

from pipeline import config, paths
from pipeline.files import write_text
from pipeline.graph.exits import BuildError
from pipeline.own import compare


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Enter a project with a user's folder in it, in which builds are written down and nothing is built."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    for name in ("presets", "sizes"):
        shutil.copytree(ROOT / "workflow" / name, tmp_path / "workflow" / name)
    Path("params.yaml").write_text("preset: mini\n")
    write_folder(tmp_path / "mine")
    write_size(tmp_path / "tiny.yaml")
    done = []

    def build(targets: list[str], cores: int) -> None:
        done.append(("build", *targets, cores))
        if targets == ["compare"]:
            write_text(
                paths.compared("own"), "# Which?\n\nvisible\n\n## Advice\n\n- Use X\n\n## Every method\n\nmore\n"
            )

    monkeypatch.setattr(compare, "build", build)
    monkeypatch.setattr(compare.doors, "dvc", lambda *words: done.append(("dvc", *words)))
    monkeypatch.setattr(compare, "run_module", lambda *words, **options: done.append((*words, options)))
    return done


WORDS = ["--images", "mine/images/train", "--annotations", "mine/annotations/instances_train.json"]
WORDS += ["--size", "tiny.yaml", "--name", "own", "--cores", "2"]


def test_the_order_of_things(project, capsys):
    assert compare.main(words=WORDS) == 0
    assert project == [
        ("build", "synthesize", 1),
        ("dvc", "repro", "--force", "--single-item", "verify"),
        ("pipeline.benchmarks.budget", "quickstart", "own", {"cores": 2}),
        ("build", "quickstart", 2),
        ("build", "compare", 2),
    ]
    assert yaml.safe_load(Path("params.yaml").read_text()) == {"preset": "own"}
    assert config.load_preset("own").factor == 0.1
    assert config.load_preset("own").blocks == 3
    said = capsys.readouterr().out
    assert "it said `preset: mini`, which takes you back" in said
    assert said.index("32 images to train on, 8 to validate on") < said.index("3/5 What it will cost")
    assert "## Advice\n\n- Use X" in said
    assert "more" not in said.partition("## Advice")[2].partition("All of it")[0]
    assert said.rstrip().endswith("All of it: reports/own/compare.md")


def test_only_the_budget(project):
    assert compare.main(words=[*WORDS, "--only-budget"]) == 0
    assert project[-1][0] == "pipeline.benchmarks.budget"
    project.clear()
    assert compare.main(words=[*WORDS, "--no-budget", "--seeds", "1"]) == 0
    assert [step[:2] for step in project][2:] == [("build", "quickstart"), ("build", "compare")]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([*WORDS, "--seeds", "0"], "SEEDS is 0, but every method is trained at least once"),
        ([*WORDS, "--size", "huge"], "Unknown SIZE 'huge'"),
        ([*WORDS, "--name", "mini"], "workflow/presets/mini.yaml was not written by `make compare`"),
        ([*WORDS, "--images", "nowhere"], "nowhere is no folder"),
    ],
)
def test_complaints_come_before_anything_is_changed(project, capsys, words, sentence):
    assert compare.main(words=words) == 2
    assert project == []
    assert yaml.safe_load(Path("params.yaml").read_text()) == {"preset": "mini"}
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == 1


def test_what_fails_is_named_and_ends_with_code_1(monkeypatch, capsys):
    monkeypatch.setattr(compare.doors, "environment", lambda: {})
    monkeypatch.setattr(compare.subprocess, "run", lambda *words, **how: type("Done", (), {"returncode": 3}))
    with pytest.raises(
        BuildError, match=r"`python -m pipeline.benchmarks.budget quickstart --preset own --cores 2` ended with"
    ):
        compare.run_module("pipeline.benchmarks.budget", "quickstart", "own", cores=2)

    def fail(options):
        raise BuildError("train x failed.")

    assert compare.main(fail, WORDS) == 1
    assert "train x failed." in capsys.readouterr().err


def stopped_after(project: Project, command: list[str], sign: str) -> str:
    """Press Ctrl-C in a command once it has printed a line with a sign, and return all that it printed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    environment = project.environment | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=project.root, env=environment, **pipes)
    said = ""
    for line in process.stdout:
        said += line
        if re.search(sign, line):
            os.killpg(process.pid, signal.SIGINT)
    assert process.wait() != 0, said
    return said


@pytest.mark.slow
def test_a_real_comparison_at_a_tiny_size(tmp_path):
    """Through `make`, from a folder whose name the shell, make, DVC and YAML could each take for something else."""
    project = copy_project(tmp_path / "project", fake=False)
    folder = "it's my ${HOME} {x} $y #1 100%"
    images, annotations = (path.relative_to(project.root) for path in write_folder(project.root / folder))
    write_size(project.root / "tiny.yaml")
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, project.root / name)
    (project.root / ".venv").symlink_to(sys.prefix)
    command = ["make", "--old-file", ".venv/.installed", "compare", f"IMAGES={images}", f"ANNOTATIONS={annotations}"]
    command += ["SIZE=tiny.yaml", "NAME=own", "SEEDS=2", "CORES=2"]
    stopped = stopped_after(project, command, r"\[20/")
    assert "Stopped. The same command goes on from here" in stopped
    assert "Traceback" not in stopped
    said = project.run(*command, OMP_NUM_THREADS="1").stdout
    assert said.count("\n  started  train ") < 40
    page = (project.root / "reports/own/compare.md").read_text()
    assert "The smallest difference that 8 validation images and 2 trainings of each experiment can show" in page
    assert "Budget of quickstart" in said
    assert page.partition("## Every method")[0].strip() in said
    for method in ("POD FD", "DST", "MSFM", "SNIP", "PSConv"):
        assert method in page.partition("## Every method")[2]
    metrics = json.loads((project.root / paths.metrics("own", "dst_frcnn_r50_fpn_1x_dst")).read_text())
    assert len(metrics["blocks"]) == 2
    project.run(*command, OMP_NUM_THREADS="1")
    assert (project.root / "reports/own/compare.md").read_text() == page
    assert json.loads((project.root / "data/compare/own/instances_val.json").read_text())["images"]
