"""Stages end bad input with one sentence on stderr and exit code 2; `-v` shows the traceback."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import cli

OF_EXPERIMENTS = ("train", "predict", "evaluate", "measure", "learn_scales", "decompose", "pretrain")


def stage(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> None:
    """Run a stage as `python -m` does, in this process."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    monkeypatch.delitem(sys.modules, f"pipeline.stages.{name}", raising=False)
    runpy.run_module(f"pipeline.stages.{name}", run_name="__main__")


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, *arguments: str) -> str:
    """Run a stage that must refuse its input, and return its one sentence."""
    with pytest.raises(SystemExit) as ended:
        stage(monkeypatch, name, *arguments)
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize("name", OF_EXPERIMENTS)
def test_unknown_experiment_or_preset(project, monkeypatch, capsys, name):
    text = refusal(monkeypatch, capsys, name, "dst_frcnn_r50_fpn_1x_dts")
    assert "Unknown experiment 'dst_frcnn_r50_fpn_1x_dts'; did you mean 'dst_frcnn_r50_fpn_1x_dst'?" in text
    text = refusal(monkeypatch, capsys, name, "dst_frcnn_r50_fpn_1x", "--preset", "ful")
    assert "Unknown preset 'ful'; did you mean 'full'?" in text


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("synthesize", ["--preset", "ful"], "Unknown preset 'ful'; did you mean 'full'?"),
        ("verify", ["--preset", "ful"], "Unknown preset 'ful'; did you mean 'full'?"),
        ("train", ["dst_frcnn_r50_fpn_1x"], "data/interim/mini/manifest.json does not exist"),
        (
            "predict",
            ["snip_drfcn_r50_7ep_snip__ms_tset"],
            "snip_drfcn_r50_7ep_snip has no test 'ms_tset'; did you mean 'ms_test'?",
        ),
        ("learn_scales", ["pod_frcnn_r50_fpn_1x"], "pod_frcnn_r50_fpn_1x has no global scale learner"),
    ],
)
def test_what_a_stage_cannot_do(project, monkeypatch, capsys, name, arguments, sentence):
    assert sentence in refusal(monkeypatch, capsys, name, *arguments)


def test_own_data_without_its_paths(project, monkeypatch, capsys):
    preset = "name: own\ntitle: own\nfactor: 1\ndata: {kind: coco, train: {images: here}}\n"
    (project / "workflow/presets/own.yaml").write_text(preset)
    text = refusal(monkeypatch, capsys, "verify", "--preset", "own")
    assert "workflow/presets/own.yaml: data.train must name `images` (a folder) and `annotations`" in text


def test_mistakes_of_the_program_keep_their_traceback(project):
    def broken(options: object) -> None:
        raise KeyError("not the user's fault")

    with pytest.raises(KeyError):
        cli.run(broken, "a stage", arguments=[])


def test_active_preset_is_the_default(project):
    seen = []
    cli.run(lambda options: seen.append(options.preset), "a stage", arguments=[])
    cli.run(lambda options: seen.append(options.preset), "a stage", arguments=["--preset", "full"])
    assert seen == ["mini", "full"]


@pytest.mark.parametrize(("flags", "traceback"), [([], False), (["-v"], True)])
def test_real_process(tmp_path, flags, traceback):
    (tmp_path / "params.yaml").write_text("preset: mini\n")
    command = [sys.executable, "-m", "pipeline.stages.train", "nothing_at_all", *flags]
    root = str(Path(cli.__file__).resolve().parents[1])
    ended = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ("Traceback" in ended.stderr) is traceback
    assert "Unknown experiment 'nothing_at_all'" in ended.stderr


def test_a_full_disk_under_what_a_stage_prints_is_one_sentence(capsys):
    def tell(options):
        with open("/dev/full", "wb", buffering=0) as log:
            log.write(b"step 1\n")

    with pytest.raises(SystemExit) as ended:
        cli.run(tell, "", arguments=["--preset", "mini"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: There is no space left to write what this stage prints; free some and run the stage again.\n"
    )
    with pytest.raises(FileNotFoundError):
        cli.run(lambda options: Path("nowhere").read_text(), "", arguments=["--preset", "mini"])
