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


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def following(tmp_path, coming, cores=1, load=(1.0, 4)):
    """Return what is said, a function that adds a finished stage, and the clock."""
    said, events, clock = [], tmp_path / "build.jsonl", Clock()
    progress = Progress(said.append, events, coming, cores, clock, lambda: load if isinstance(load, tuple) else load())

    def finish(stage, seconds, **ending):
        log = f"logs/{stage.partition('@')[0].rpartition(':')[2]}.log"
        with open(events, "a") as file:
            file.write(event(stage, log))
            progress.follow()
            clock.now += seconds
            file.write(event(stage, log, **{"exit": 0, "seconds": seconds, "ran": True} | ending))
        progress.follow()
        return said[-1]

    return said, finish, progress


def test_progress(tmp_path):
    said, events = [], tmp_path / "build.jsonl"
    progress = Progress(said.append, events, {"a:train@x": 9.0, "verify": 0.0}, 1, Clock(), lambda: (1.0, 4))
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
    assert said[1:] == [
        "  [0 min done, about 1 min left] train x   1 min 1 s",
        "  [0 min done] verify   0 s   restored from the cache",
    ]
    assert {title(log) for log in progress.unfinished.values()} == {"table t"}


def test_minutes_are_told_by_work(tmp_path):
    """Ten pages are nothing beside a training; one of three blocks is three times one of one."""
    pages = {f"page_{number}": 0.0 for number in range(10)}
    work = {"pretrain@b": 100.0, "train@x": 300.0, "train@y": 900.0, **pages}
    _, finish, progress = following(tmp_path, work)
    assert "left" not in finish("page_0", 4.0)  # how long anything long takes is unknown
    assert "[2 min done, about 21 min left]" in finish("pretrain@b", 104.0)  # 1,200 images and 9 pages of 4 s
    assert "[7 min done, about 16 min left]" in finish("train@x", 304.0)
    assert "about 1 min left" in finish("train@y", 904.0)
    for number in range(1, 9):
        finish(f"page_{number}", 4.0)
    assert finish("page_9", 4.0).startswith("  [23 min done] ")
    assert progress.left() == 0


def test_side_by_side_no_sooner_than_the_longest(tmp_path):
    _, finish, _ = following(tmp_path, {"train@a": 60.0, "train@b": 600.0, "train@c": 60.0}, cores=2)
    assert "about 10 min left" in finish("train@a", 64.0)


def test_restored_stages_say_nothing_of_the_pace(tmp_path):
    _, finish, _ = following(tmp_path, {"train@a": 60.0, "train@b": 60.0})
    assert "left" not in finish("train@a", 1.0, ran=False)
    assert finish("train@b", 60.0).startswith("  [1 min done] ")


def test_a_busy_machine_is_said_once_and_when_it_ends(tmp_path):
    loads = iter([(2.0, 2), (5.2, 2), (4.8, 2), (1.0, 2)])
    said, finish, _ = following(tmp_path, {f"s{n}": 0.0 for n in range(4)}, load=lambda: next(loads))
    for number in range(4):
        finish(f"s{number}", 1.0)
    assert [line.strip()[:45] for line in said if "busy" in line] == [
        "This machine is busy beside the build: 5.2 pr",
        "This machine is no longer busy beside the bui",
    ]


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
