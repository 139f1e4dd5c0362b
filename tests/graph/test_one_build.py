"""One build in a folder at a time, and what ends when a build is ended."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline import paths
from pipeline.errors import InputError
from pipeline.graph import disk, exits, one_build, repair
from pipeline.graph.declared import Stage


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def start(root, script, *words, builder=None):
    """Start a script as a build's process and wait until it says that it is ready."""
    environment = os.environ | {"PYTHONPATH": str(repair.__file__).partition("/pipeline/")[0]}
    if builder:
        environment[one_build.MARK] = f"{root}:{builder}"
    command = [sys.executable, "-c", script, *words]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def gone():
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


HOLDS = """
import sys, time
from pathlib import Path
from pipeline.graph import one_build
with one_build.alone(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(60)
"""
SLEEPS = "import time; print('ready', flush=True); time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS


def test_a_second_build_says_who_is_first(root):
    process = start(root, HOLDS, str(root))
    with pytest.raises(InputError, match=rf"Another build \(process {process.pid}\) is running in this folder"):
        one_build.alone().__enter__()
    process.kill()  # its lock goes with it
    process.wait()
    with one_build.alone():
        pass


@pytest.mark.parametrize("script", [SLEEPS, DEAF])
def test_processes_of_a_killed_build_are_ended(root, monkeypatch, script):
    monkeypatch.setattr(one_build, "PATIENCE", 0.5)
    process = start(root, script, builder=gone())
    (said,) = one_build.end_orphans()
    assert said == f"ended process {process.pid}, left over from a killed build"
    assert process.wait(10) in (-signal.SIGTERM, -signal.SIGKILL)


def test_dvc_of_a_killed_build_is_waited_for(root, monkeypatch):
    """DVC may be writing a lock: it gets no signal, which would end this one with another code."""
    monkeypatch.setattr(one_build, "kind", lambda process: "dvc")
    process = start(root, "import time; print('ready', flush=True); time.sleep(1)", builder=gone())
    one_build.end_orphans()
    assert process.wait() == 0


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["python", "-m", "dvc", "--wait-for-lock", "repro", "code"], "dvc"),
        (["python", "/env/bin/dvc", "repro"], "dvc"),
        (["python", "-m", "dvc", "status", "--json"], "status"),
        (["python", "-m", "snakemake", "--cores", "2"], "snakemake"),
        (["bash", "-c", "python -m pipeline.graph.job verify --log logs/verify.log"], "shell"),
        (["python", "-m", "pipeline.graph.job", "verify", "--log", "logs/verify.log"], "job"),
        (["sh", "-c", "python -m pipeline.stages.train x"], "other"),
        (["python", "-m", "pipeline.stages.train", "dvc"], "other"),
    ],
)
def test_kinds_of_processes(words, kind):
    assert one_build.kind(type("Process", (), {"cmdline": lambda self: words})()) == kind


def test_processes_of_a_live_build_are_left_alone(root):
    builder = start(root, SLEEPS)
    process = start(root, SLEEPS, builder=builder.pid)
    assert one_build.end_orphans() == []
    assert process.poll() is None
    for one in (process, builder):
        one.kill()
        one.wait()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("No such stage."), 2, "error: No such stage."),
        (exits.BuildError("A stage failed."), 1, "A stage failed."),
        (KeyboardInterrupt(), 130, "Stopped. The same command goes on from here"),
        (
            OSError(28, "No space left on device", "logs/build.log"),
            2,
            "logs/build.log could not be used (No space left",
        ),
    ],
)
def test_every_end_is_one_sentence(error, code, said, capsys):
    def fail():
        raise error

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    assert exits.exit_code(fail) == code
    for number, handler in before.items():
        signal.signal(number, handler)
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err + printed.out


def test_files_dated_in_the_future_are_dated_now(root):
    (root / "own.yaml").write_text("x")
    later = time.time() + 1e6
    os.utime(root / "own.yaml", (later, later))
    known = {"a": Stage("a", "", ("own.yaml", "absent.yaml"), ("out.txt",))}
    (said,) = repair.undate(known)
    assert said == "1 files were dated in the future, such as own.yaml; they are dated now"
    assert (root / "own.yaml").stat().st_mtime <= time.time()
    assert repair.undate(known) == []


def test_a_folder_that_cannot_be_written_to_is_named(root, monkeypatch):
    (root / "reports").mkdir()
    monkeypatch.setattr(repair.os, "access", lambda path, mode: path.name != "reports")  # root may write anywhere
    with pytest.raises(InputError, match=r"^reports must take results"):
        repair.check_writable(["reports/mini/index.md"])
    repair.check_writable(["data/runs/a.txt"])


def test_a_folder_whose_name_dvc_would_fill_in_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path / "{x}")
    with pytest.raises(InputError, match="whose path holds a brace; move or rename the folder"):
        repair.repair({})


def test_a_full_disk_is_named(root, monkeypatch):
    assert disk.full_disk("a stage failed") is None
    assert disk.full_disk("ERROR: unexpected error - [Errno 28] No space left on device") == (
        f"There is too little space on the disk of {root}; free some, and the same command goes on."
    )
    usage = type("Usage", (), {"free": 4096})
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage)
    assert disk.full_disk() == (
        f"There is no space left on the disk of {root}; free some, and the same command goes on."
    )
