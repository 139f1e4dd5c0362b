"""Signals at random moments: whatever is lost, the files at the end are those of a training that was never killed."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import processes
import pytest

from pipeline import paths

EXPERIMENT = "dst_frcnn_r50_fpn_1x_dst"
SCRIPT = """
import tiny
from pipeline.training.detection import train_detector
train_detector(tiny.spec({!r}, **{!r}))
"""


def first_step(process: subprocess.Popen, patience: float = 120.0) -> None:
    """Wait until a training has logged a step of its own, or is done."""
    scratch = Path("data/scratch")
    before = {path: path.stat().st_mtime_ns for path in scratch.glob("*/log.jsonl")}
    end = time.monotonic() + patience
    while process.poll() is None and time.monotonic() < end:
        states = {path: path.stat() for path in scratch.glob("*/log.jsonl")}
        if any(state.st_size and state.st_mtime_ns != before.get(path) for path, state in states.items()):
            return
        time.sleep(0.01)


def outputs() -> dict[str, bytes]:
    files = [place("tiny", EXPERIMENT) for place in (paths.weights, paths.history, paths.training_summary)]
    return {path.name: path.read_bytes() for path in files}


def kill_and_compare(kills: int, steps: int, seconds: float, kinds: Sequence[int] = (signal.SIGKILL,)) -> int:
    """Kill a training at random moments, let it finish, compare with an undisturbed one; return the kills that hit."""
    moments = random.Random(0)
    options = {"steps": steps, "checkpoint_rows": steps // 2}
    script = SCRIPT.format(EXPERIMENT, options)  # all in processes of their own: bytes are equal on one device only
    assert processes.start(script).wait() == 0
    whole = outputs()
    for path in (paths.weights("tiny", EXPERIMENT), paths.history("tiny", EXPERIMENT)):
        path.unlink()
    hits = 0
    for number in range(kills):
        process = processes.start(script)
        first_step(process)
        time.sleep(moments.uniform(0, seconds))
        process.send_signal(kinds[number % len(kinds)])
        process.wait()
        hits += process.returncode != 0
        if process.returncode == 0:
            break
    assert processes.start(script).wait() == 0
    assert outputs() == whole
    assert not list(Path("data/scratch").glob("*"))
    log = paths.training_log("tiny", EXPERIMENT).read_text().splitlines()
    assert [line.split(",")[0] for line in log] == [f'{{"step": {number}' for number in range(1, steps + 1)]
    return hits


def test_killed_once_at_a_random_moment(tiny_project):
    assert kill_and_compare(1, 20, 0.2) == 1


@pytest.mark.slow
def test_killed_again_and_again_at_random_moments(tiny_project):
    """What accumulated batches, averaged weights and bf16 add to a checkpoint is held by test_resume."""
    kinds = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    assert kill_and_compare(10, 200, 1.0, kinds) >= 2  # how many hit depends on the machine
