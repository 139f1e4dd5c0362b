"""`make compare`: in which order things happen, what is skipped the second time, and one real run at a tiny size."""

import hashlib
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
from pipeline.files import write_json
from pipeline.graph import declared, invented
from pipeline.graph.exits import BuildError
from pipeline.own import compare, page, run
from pipeline.own.detectors import DST, PLAIN, PROPOSED


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Enter a project with a user's folder in it, in which the part below `build` is written down and does not run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    for name in ("presets", "sizes", "papers"):
        shutil.copytree(ROOT / "workflow" / name, tmp_path / "workflow" / name)
    Path("params.yaml").write_text("preset: mini\n")
    write_folder(tmp_path / "mine")
    write_size(tmp_path / "tiny.yaml")
    done = []
    monkeypatch.setattr(compare.workspace, "become", lambda *words: done.append(words))
    return done


WORDS = ["--images", "mine/images/train", "--annotations", "mine/annotations/instances_train.json"]
WORDS += ["--size", "tiny.yaml", "--name", "own", "--cores", "2"]


def test_the_folder_is_checked_before_the_build_begins(project, capsys):
    assert compare.main(words=WORDS) == 0
    assert project == [("own", "pipeline.own.run", ["--cores", "2"])]
    assert yaml.safe_load(Path("params.yaml").read_text()) == {"preset": "mini"}  # which git tracks
    preset = config.load_preset("own")
    assert (preset.factor, preset.blocks) == (0.1, 3)
    assert Path(preset.data.train.images).is_absolute()  # it is read from another folder
    assert "32 images to train on, 8 to validate on" in capsys.readouterr().out


def test_options_go_on_to_the_build(project, capsys):
    more = ["--only-budget", "--no-budget", "--methods", "dst,psconv", "--hours", "2"]
    assert compare.main(words=[*WORDS, *more]) == 0
    words = ["--cores", "2", "--methods", "dst,psconv", "--hours", "2.0", "--only-budget", "--no-budget"]
    assert project[0][2] == words
    assert "warning" not in capsys.readouterr().out


def test_published_weights_leave_psconv_out(project, capsys):
    assert compare.main(words=[*WORDS, "--init", "torchvision"]) == 0
    assert project[0][2] == ["--cores", "2", "--methods", "pod,dst,msfm,snip"]
    preset = config.load_preset("own")
    assert (preset.init_source, preset.model.width, preset.factor) == ("torchvision", 1.0, 0.1)
    assert "PSConv is left out" in capsys.readouterr().out


@pytest.mark.parametrize(("seeds", "said"), [("1", "no difference can be told"), ("2", "1.3 times as large as with 3")])
def test_few_seeds_warn_before_anything_trains(project, capsys, seeds, said):
    assert compare.main(words=[*WORDS, "--seeds", seeds]) == 0
    out = capsys.readouterr().out
    assert f"warning: with SEEDS={seeds} " in out
    assert said in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([*WORDS, "--seeds", "0"], "SEEDS is 0, but every method is trained at least once"),
        ([*WORDS, "--size", "huge"], "Unknown SIZE 'huge'"),
        ([*WORDS, "--name", "mini"], "workflow/presets/mini.yaml was not written by `make compare`"),
        ([*WORDS, "--images", "nowhere"], "nowhere is no folder"),
        ([*WORDS, "--methods", "dst,psconf"], "METHODS has 'psconf'; did you mean 'psconv'?"),
        ([*WORDS, "--hours", "0"], "HOURS is 0, but must be above 0"),
        ([*WORDS, "--steps", "0"], "STEPS is 0, but a training has at least one"),
        (
            [*WORDS, "--init", "torchvision", "--methods", "dst,psconv"],
            "names psconv, but no weights",
        ),
    ],
)
def test_complaints_come_before_anything_is_changed(project, capsys, words, sentence):
    assert compare.main(words=words) == 2
    assert project == []
    assert not Path("workflow/presets/own.yaml").exists()
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == 1


def record(evaluation: str) -> None:
    """Write DVC's record of a score by class that was made from the present manifest."""
    lock = Path(f"workflow/papers/{paths.paper_of(evaluation)}/dvc.lock")
    content = yaml.safe_load(lock.read_text())
    path = paths.manifest("mini")
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    content["stages"][f"per_class@{evaluation}"] = {"cmd": "", "deps": [{"path": path.as_posix(), "md5": md5}]}
    lock.write_text(yaml.safe_dump(content))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Enter the folder of a comparison, in which builds are written down and leave the results of what they name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    for name in ("workflow", "dvc.yaml", "data/published"):
        subprocess.run(["cp", "-r", ROOT / name, tmp_path / name if "/" not in name else tmp_path], check=True)
    (tmp_path / "data").mkdir()
    shutil.copytree(ROOT / "data/published", tmp_path / "data/published")
    Path("params.yaml").write_text("preset: mini\n")
    write_json(paths.manifest("mini"), {"splits": {}})
    done = []

    def build(targets: list[str], cores: int) -> None:
        if config.load_preset("mini").blocks == 1:
            done.append("one block")
        done.append(tuple(targets))
        for target in targets:
            kind, _, name = target.partition("@")
            if kind == "per_class":
                invented.write_classes("mini", name)
                record(name)
            elif kind == "loss_share":
                write_json(paths.loss_share("mini", name), {"proposed_threshold": 0.05})
        if targets == ["compare"]:
            page.write_comparison("mini")

    def run_module(module: str, target: str, preset: str, **options: object) -> None:
        done.append((module, target, options["left"]))
        known = declared.stages()
        cost = {"train": 600.0, "pretrain": 600.0}
        needed = declared.ancestors("compare", known)
        found = {name: cost.get(known[name].name.partition("@")[0], 1.0) for name in needed}
        write_json(options["json"], {"side_by_side": 2, "seconds": found})

    monkeypatch.setattr(run.snip_ranges, "fit_ranges", lambda preset: f"ranges of {preset}")  # needs verified data
    monkeypatch.setattr(run, "build", build)
    monkeypatch.setattr(run, "run_module", run_module)
    monkeypatch.setattr(run.doors, "dvc", lambda *words: done.append(("dvc", *words)))
    monkeypatch.setattr(run, "drawn", lambda preset, evaluation: [Path(f"{evaluation}.png")])
    return done


def rows() -> list[str]:
    """Return the detectors that the page shows."""
    lines = Path("reports/mini/compare.md").read_text().partition("## Every detector")[2].partition("## Gains")[0]
    return [line.split(" | ")[0].strip("| ") for line in lines.splitlines() if line.startswith("| ")][2:]


def trainings() -> set[str]:
    known = declared.stages(Path.cwd())
    names = (known[address].name for address in declared.ancestors("compare", known))
    return {name.partition("@")[2] for name in names if name.startswith("train@")}


def test_the_plain_detector_is_first_and_stands_on_screen(place, capsys):
    assert run.main(["--cores", "2"]) == 0
    assert place[:2] == [("synthesize",), ("dvc", "repro", "--force", "--single-item", "verify")]
    assert place[2] == ("pipeline.benchmarks.budget", "compare", "")
    assert place[3:5] == ["one block", (f"per_class@{PLAIN}",)]
    assert place[5] == (f"per_class@{PLAIN}", f"loss_share@{DST}")
    assert place[6][:2] == (f"per_class@{PLAIN}", "per_class@pod_frcnn_r50_fpn_2x")
    assert "per_class@msfm_frcnn_r50_fpn_1x_msfm" in place[6]  # the cheapest paper fills the other processor
    assert f"per_class@{DST}_dst" not in place[6]
    assert place.count("one block") == 1
    assert place[-1] == ("compare",)
    said = capsys.readouterr().out
    early = said.index("The plain detector, from the first of 3 trainings: AP 26.6")
    assert early < said.index("The plain detector: AP 26.6")
    assert said.index("The plain detector: AP 26.6") < said.index("plain 26.6") < said.index("## Advice")
    assert "By class: ball 26.6, clock 26.6" in said
    assert said.index("ranges of mini") < said.index("The plain detector")
    assert f"Its mistakes: {PLAIN}.png" in said
    assert "## Every detector" not in said
    assert said.rstrip().splitlines()[-2].startswith("All of it: reports/mini/compare.md")


def test_dst_is_trained_at_the_threshold_of_the_data_too(place, capsys):
    assert run.main(["--no-budget", "--methods", "dst", "--cores", "1"]) == 0
    proposed = yaml.safe_load(paths.experiment_file(PROPOSED).read_text())
    assert proposed["method"]["collage"]["threshold"] == 0.05
    assert "DST is trained at the threshold 0.05, too" in capsys.readouterr().out
    assert f"per_class@{PROPOSED}" in place[-2]
    wanted = {PLAIN, "pod_frcnn_r50_fpn_2x", DST, f"{DST}_dst", f"{DST}_ms_train_600_1000", PROPOSED}
    assert trainings() == wanted
    assert config.resolve(PROPOSED, "mini").experiment.method.collage.threshold == 0.05
    assert f"`{PROPOSED}`" in paths.compared("mini").read_text()
    known = declared.stages(Path.cwd())
    above = declared.ancestors("compare", known)
    assert {known[name].name for name in above} >= {
        f"{kind}@{PROPOSED}" for kind in ("per_class", "measure", "predict")
    }


def test_dst_is_not_trained_at_a_threshold_that_cannot_be_read(place, monkeypatch, capsys):
    monkeypatch.setattr(run, "proposed_threshold", lambda results: 0.005)
    assert run.main(["--no-budget", "--methods", "dst", "--cores", "1"]) == 0
    assert "DST is trained at its paper's threshold alone: small objects carry less than 1 %" in capsys.readouterr().out
    assert PROPOSED not in trainings()
    assert f"per_class@{DST}_dst" in place[-2]


def test_methods_that_were_left_out_are_not_trained(place):
    assert run.main(["--no-budget", "--methods", "psconv"]) == 0
    two = {"psconv_frcnn_r50_fpn_1x", "psconv_frcnn_r50_fpn_1x_psconv"}
    assert trainings() == {PLAIN, "pod_frcnn_r50_fpn_2x", *two}
    assert [step for step in place if f"loss_share@{DST}" in step] == []


def test_detectors_of_an_earlier_run_are_not_compared_with(place):
    """They may have started from other weights, or have seen other data."""
    assert run.main(["--no-budget", "--methods", "psconv,msfm"]) == 0
    assert "| MSFM |" in Path("reports/mini/compare.md").read_text()
    assert run.main(["--no-budget", "--methods", "psconv"]) == 0
    text = Path("reports/mini/compare.md").read_text()
    assert "| PSConv |" in text
    assert "| MSFM |" not in text


@pytest.mark.parametrize(("data", "shown"), [("same", [6, 6, 6, 6]), ("other", [1, 1, 2, 4, 6])])
def test_pages_in_between_show_no_training_on_other_data(place, monkeypatch, data, shown):
    seen = []
    monkeypatch.setattr(run, "write_comparison", lambda preset: (page.write_comparison(preset), seen.append(rows())))
    assert run.main(["--no-budget", "--methods", "psconv,msfm", "--cores", "1"]) == 0
    assert len(seen[0]) == 1
    drawn = [
        Path(f"reports/mini/mistakes/{name}_misses.png") for name in (PLAIN, f"{PLAIN}_fd", "msfm_frcnn_r50_fpn_1x")
    ]
    for path in drawn:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    if data == "other":
        write_json(paths.manifest("mini"), {"splits": {}, "shared_images": 0, "seed": 1})
    seen.clear()
    assert run.main(["--no-budget", "--methods", "psconv,msfm", "--cores", "1"]) == 0
    assert [len(found) for found in seen] == shown
    assert [path.is_file() for path in drawn] == ([True, False, True] if data == "same" else [False] * 3)
    assert len(rows()) == 6


def test_hours_leave_out_the_dearest_first_and_say_so(place, capsys):
    """Two plain trainings and the pre-training: 15 minutes, two at once; MSFM's two: 10; the others' more."""
    assert run.main(["--hours", "0.7", "--only-budget"]) == 0
    said = capsys.readouterr().out
    assert "In this order, the cheapest first: plain 15 min, msfm 10 min, psconv 15 min." in said
    dropped = said.partition("HOURS=0.7 leaves out, the dearest first: ")[2].partition("\n")[0]
    assert [word.partition(" ")[0] for word in dropped.split(", ")] == ["snip", "pod", "dst"]
    assert not any("per_class" in step[0] for step in place)
    assert run.main(["--hours", "0.1", "--only-budget"]) == 0
    assert "warning: the plain detector alone takes longer than HOURS=0.1" in capsys.readouterr().out


def test_what_fails_is_named_and_ends_with_code_1(monkeypatch, capsys):
    monkeypatch.setattr(run.doors, "environment", lambda: {})
    monkeypatch.setattr(run.subprocess, "run", lambda *words, **how: type("Done", (), {"returncode": 3}))
    with pytest.raises(
        BuildError, match=r"`python -m pipeline.benchmarks.budget compare --preset own --cores 2 --left` ended with"
    ):
        run.run_module("pipeline.benchmarks.budget", "compare", "own", cores=2, left="")

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
    stopped = stopped_after(project, command, r"min left\] predict ")
    assert "Stopped. The same command goes on from here" in stopped
    assert "Traceback" not in stopped
    said = project.run(*command, OMP_NUM_THREADS="1").stdout
    place = project.root / "build/own"
    page = (place / "reports/own/compare.md").read_text()
    assert "8 validation pictures and 2 trainings of each" in page
    assert "Budget of compare" in said
    assert page.partition("## Every detector")[0].strip() in said
    for method in ("POD FD", "DST", "DST, threshold of this data", "MSFM", "SNIP", "PSConv"):
        assert f"| {method} |" in page.partition("## Every detector")[2]
    metrics = json.loads((place / paths.metrics("own", "dst_frcnn_r50_fpn_1x_dst_per_class")).read_text())
    assert len(metrics["blocks"]) == 2
    again = project.run(*command, OMP_NUM_THREADS="1").stdout
    assert "started  train" not in again
    assert (place / "reports/own/compare.md").read_text() == page
    changed = project.run("git", "status", "--porcelain").stdout.split("\n")
    assert [line for line in changed if line.startswith(" M")] == []
    assert json.loads((project.root / "data/compare/own/instances_val.json").read_text())["images"]
