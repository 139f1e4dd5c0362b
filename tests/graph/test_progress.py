"""What jobs say of themselves becomes one line a finished stage."""

import json
import os
import subprocess
import sys

from pipeline import paths
from pipeline.graph.job import EVENTS
from pipeline.graph.progress import Progress, duration, title


def event(stage, log, **ending):
    return json.dumps({"stage": stage, "log": log, **ending}) + "\n"


def test_progress(tmp_path):
    said, events = [], tmp_path / "build.jsonl"
    progress = Progress(said.append, events, ["a:train@x", "verify"], 1)
    progress.follow()  # nothing has started yet
    train = event("a:train@x", "logs/train/x.log")
    events.write_text(train + event("verify", "logs/verify.log") + event("t", "logs/table/t.log")[:20])
    progress.follow()
    assert said == ["  started  train x   (its progress: logs/train/x.log)"]
    with open(events, "a") as file:
        file.write(event("t", "logs/table/t.log")[20:])
        file.write(event("a:train@x", "logs/train/x.log", exit=0, seconds=61.2, ran=True))
        file.write(event("verify", "logs/verify.log", exit=0, seconds=0.2, ran=False))
        file.write(event("t", "logs/table/t.log", exit=1, seconds=1.0, ran=True))
    progress.follow()
    assert said[1:] == ["      [1/2] train x   1 min 1 s", "      [2/2] verify   0 s   restored from the cache"]
    assert {title(log) for log in progress.unfinished.values()} == {"table t"}


def test_the_time_left_is_told_from_what_finished(tmp_path):
    """33 times 8 s of work; then 200 s and 3 times 13 s; then 3 times 13 s; two side by side."""
    said, events = [], tmp_path / "build.jsonl"
    progress = Progress(said.append, events, ["a:train@x", "b:train@y", "b:predict@y", "verify"], 2)
    for stage, seconds in (("verify", 8.0), ("a:train@x", 200.0), ("b:train@y", 160.0)):
        log = f"logs/{stage}.log"
        with open(events, "a") as file:
            file.write(event(stage, log) + event(stage, log, exit=0, seconds=seconds, ran=True))
    progress.follow()
    left = [line.partition("(")[2] for line in said if "[" in line]
    assert left == ["about 2 min left)", "about 2 min left)", ""]


def test_durations():
    assert [duration(s) for s in (0.2, 59.4, 60, 185)] == ["0 s", "59 s", "1 min 0 s", "3 min 5 s"]


def test_a_job_says_that_it_started_and_how_it_ended(tmp_path):
    """DVC fails at once where there is no project: that is enough of a stage."""
    events, log = tmp_path / "events.jsonl", tmp_path / "logs/table/t.log"
    command = [sys.executable, "-m", "pipeline.graph.job", "no_such_stage", "--log", str(log)]
    environment = os.environ | {EVENTS: str(events), "PYTHONPATH": str(paths.ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False)
    started, ended = map(json.loads, events.read_text().splitlines())
    assert started == {"stage": "no_such_stage", "log": str(log)}
    assert ended == started | {"exit": done.returncode, "seconds": ended["seconds"], "ran": False}
    assert done.returncode != 0
    assert log.stat().st_size > 0
    assert not list(tmp_path.glob("events.jsonl.*"))


def test_a_job_imports_nothing_heavy():
    code = "import sys, pipeline.graph.job; print(len(sys.modules), 'yaml' in sys.modules, 'dvc' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, check=True)
    count, *heavy = said.stdout.split()
    assert int(count) < 150
    assert heavy == ["False", "False"]
