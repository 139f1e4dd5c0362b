"""Turns what the jobs of a build say of themselves (`pipeline.graph.job`) into one line for each finished stage.

A line says how many minutes are done and about how many are left, by the work of the stages (`pipeline.graph.work`):
one training may be as much as a thousand pages.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

LONG = ("pretrain", "train", "classify", "fine_tune")  # kinds whose start is announced, with the log of their progress
SHORT = 4.0  # seconds of a stage that runs no network, before one has ended
BUSY = 1.0  # processes of others beside a build's own that slow it down


class Progress:
    """Follows a build's file of events, says what finished, and remembers what started and has not ended well.

    Args:
        say: takes each line.
        events: the file.
        coming: the work of every stage that will run, as far as known before: what is missing below them comes on top.
        cores: stages side by side.
        clock: gives seconds.
        load: gives how many processes of this machine want to run, and its processors.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        events: Path,
        coming: Mapping[str, float],
        cores: int,
        clock: Callable[[], float] = time.monotonic,
        load: Callable[[], tuple[float, int]] = lambda: (os.getloadavg()[0], os.cpu_count() or 1),
    ):
        self.say, self.events, self.cores, self.clock, self.load = say, events, cores, clock, load
        self.coming = dict(coming)
        self.work = dict(coming)
        self.begun: dict[str, float] = {}  # when the stages began that run now
        self.ran: list[tuple[float, float]] = []  # work and seconds of those that ran
        self.ended: list[Mapping[str, Any]] = []  # events of stages that ended, well or not, since they were taken last
        self.start, self.read, self.done, self.busy = clock(), 0, 0, False
        self.unfinished: dict[str, Path] = {}  # stage: log

    def follow(self) -> bool:
        """Take the events that came since the last call; return whether a stage ended well since then."""
        done = self.done
        if not self.events.exists():
            return False
        with open(self.events, "rb") as file:
            file.seek(self.read)
            for line in file:
                if line.endswith(b"\n"):  # else it is still being written
                    self.read += len(line)
                    with suppress(ValueError):  # cut off where the disk was full
                        self.take(json.loads(line))
        return self.done > done

    def take(self, event: Mapping[str, Any]) -> None:
        log, stage = Path(event["log"]), event["stage"]
        if "exit" not in event:
            self.unfinished[stage], self.begun[stage] = log, self.clock()
            if log.parts[1] in LONG:
                self.say(f"  started  {title(log)}   (its progress: {log})")
            return
        self.begun.pop(stage, None)
        self.ended.append(event)
        if event["exit"] == 0:
            self.unfinished.pop(stage, None)
            self.done += 1
            self.coming.pop(stage, None)
            if event["ran"]:
                self.ran.append((self.work.get(stage, 0.0), event["seconds"]))
            how = "" if event["ran"] else "   restored from the cache"
            self.say(f"  [{self.minutes()}] {title(log)}   {duration(event['seconds'])}{how}")
            self.look_around()

    def take_ended(self) -> list[Mapping[str, Any]]:
        """Return the events of stages that ended since the last call."""
        ended, self.ended = self.ended, []
        return ended

    def minutes(self) -> str:
        """Return `12 min done, about 42 min left`; without the latter where nothing long has ended yet."""
        done, left = f"{(self.clock() - self.start) / 60:.0f} min done", self.left()
        return done if left is None else f"{done}, about {max(1, round(left / 60))} min left" if self.coming else done

    def left(self) -> float | None:
        """Return about how many seconds are left, by the work and time of what ran; None where that is unknown."""
        worked = sum(work for work, _ in self.ran)
        short = [seconds for work, seconds in self.ran if not work]
        each = sum(short) / len(short) if short else SHORT
        if not worked and any(self.coming.values()):
            return None
        pace = max(0.0, sum(s - each for work, s in self.ran if work)) / worked if worked else 0.0
        seconds = {stage: each + pace * work for stage, work in self.coming.items()}
        under_way = sum(min(self.clock() - at, seconds.get(stage, 0.0)) for stage, at in self.begun.items())
        longest = max(seconds.values(), default=0.0) - max((self.clock() - at for at in self.begun.values()), default=0)
        return max((sum(seconds.values()) - under_way) / self.cores, longest, 0.0)

    def look_around(self) -> None:
        """Say when other processes begin to take the processors from this build, and when they no longer do."""
        wanted, processors = self.load()
        # The load is a mean over a minute, in which the build may have used all its cores.
        busy = wanted - self.cores >= BUSY and wanted > processors
        if busy and not self.busy:
            self.say(
                f"  This machine is busy beside the build: {wanted:.1f} processes want its "
                f"{processors} processor{'s' * (processors > 1)}, so what is left takes longer than alone."
            )
        elif self.busy and not busy:
            self.say("  This machine is no longer busy beside the build.")
        self.busy = busy


def title(log: Path) -> str:
    """Return a stage's name as a user says it: `train x` for logs/train/x.log."""
    return " ".join(log.with_suffix("").parts[1:])


def tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a log, nothing where there is none."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return "\n".join(text.splitlines()[-lines:])


def duration(seconds: float) -> str:
    """Return `41 s` or `3 min 5 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
