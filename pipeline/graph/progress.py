"""Turns Snakemake's messages into one line for each finished stage."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

START = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):$")
FIELD = re.compile(r"^    (\w+): (.*)$")
FINISHED = re.compile(r"^Finished jobid: (\d+) ")
FAILED = re.compile(r"^Error in rule (\w+)")
TOTAL = re.compile(r"^total\s+(\d+)$")
LONG = ("pretrain", "train")  # stages whose start is announced, with the log that shows their progress


@dataclass
class Job:
    """One stage in flight: its name as a user says it, its log, and when it started (seconds)."""

    rule: str
    log: str = ""
    started: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        parts = Path(self.log).with_suffix("").parts[1:]  # logs/train/x.log -> train x
        return " ".join(parts) or self.rule


class Progress:
    """Follows Snakemake's output line by line, says what finished, and remembers the logs of what failed."""

    def __init__(self, say: Callable[[str], None], root: Path):
        self.say = say
        self.root = root
        self.jobs: dict[str, Job] = {}
        self.current: Job | None = None
        self.failing = False
        self.failed: list[Job] = []
        self.done = self.total = 0

    def line(self, text: str) -> None:
        """Take one line of Snakemake's output."""
        if match := START.match(text):
            self.current, self.failing = Job(match[1]), False
        elif match := FAILED.match(text):
            self.current, self.failing = Job(match[1]), True
        elif match := FIELD.match(text):
            self.field(match[1], match[2])
        elif match := FINISHED.match(text):
            self.finished(match[1])
        elif match := TOTAL.match(text):
            self.total = int(match[1])

    def field(self, name: str, value: str) -> None:
        if self.current is None:
            return
        if name == "log":
            self.current.log = value.split(" (check")[0].split(",")[0]
            if self.failing:
                self.failed.append(self.current)
        elif name == "jobid" and not self.failing:
            self.jobs[value] = self.current
            if self.current.rule in LONG:
                self.say(f"  started  {self.current.name}   (its progress: {self.current.log})")

    def finished(self, number: str) -> None:
        job = self.jobs.pop(number, None)
        if job is None:
            return
        self.done += 1
        seconds = time.monotonic() - job.started
        self.say(f"  {f'[{self.done}/{self.total}]':>9} {job.name}   {duration(seconds)}{self.how(job)}")

    def how(self, job: Job) -> str:
        """Return how DVC brought a stage up to date, where it did not run it."""
        text = self.log(job)  # all of it: a progress bar leaves a line a step behind DVC's first one
        if "Running stage" in text:
            return ""
        return "   restored from the cache" if "is cached" in text else "   unchanged"

    def tail(self, job: Job, lines: int) -> str:
        """Return the last lines of a stage's log."""
        return "\n".join(self.log(job).splitlines()[-lines:])

    def log(self, job: Job) -> str:
        """Return a stage's log, empty where there is none."""
        path = self.root / job.log
        return path.read_text(encoding="utf-8", errors="replace") if job.log and path.is_file() else ""


def duration(seconds: float) -> str:
    """Return `41 s` or `3 min 5 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
