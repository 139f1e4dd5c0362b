"""Turns what the jobs of a build say of themselves (`pipeline.graph.job`) into one line for each finished stage."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

LONG = ("pretrain", "train", "classify", "fine_tune")  # kinds whose start is announced, with the log of their progress
WORK = {"pretrain": 20, "classify": 20, "fine_tune": 20, "train": 15, "propose": 3, "predict": 3}  # of others: 1
WORK["search_ranges"] = 2 * WORK["predict"]


class Progress:
    """Follows a build's file of events, says what finished, and remembers what started and has not ended well."""

    def __init__(self, say: Callable[[str], None], events: Path, coming: Iterable[str], cores: int):
        self.say = say
        self.events = events
        self.coming = set(coming)  # stages, as far as known before: what is missing below them comes on top
        self.total, self.cores = len(self.coming), cores
        self.seconds: dict[str, list[float]] = defaultdict(list)  # of the stages that ran, by kind
        self.read = self.done = 0
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
        log = Path(event["log"])
        if "exit" not in event:
            self.unfinished[event["stage"]] = log
            if log.parts[1] in LONG:
                self.say(f"  started  {title(log)}   (its progress: {log})")
        elif event["exit"] == 0:
            self.unfinished.pop(event["stage"], None)
            self.done += 1
            self.coming.discard(event["stage"])
            if event["ran"]:
                self.seconds[kind(event["stage"])].append(event["seconds"])
            counted = f"[{self.done}/{max(self.done, self.total)}]"
            how = "" if event["ran"] else "   restored from the cache"
            self.say(f"  {counted:>9} {title(log)}   {duration(event['seconds'])}{how}{self.left()}")

    def left(self) -> str:
        """Return an estimate of the time left: by what stages of each kind took so far, else by their usual work."""
        spent = sum(sum(found) for found in self.seconds.values())
        if not spent or not self.coming:
            return ""
        pace = spent / sum(WORK.get(name, 1) * len(found) for name, found in self.seconds.items())
        typical = {name: sum(found) / len(found) for name, found in self.seconds.items()}
        kinds = [kind(stage) for stage in self.coming]
        seconds = sum(typical.get(name, pace * WORK.get(name, 1)) for name in kinds) / self.cores
        return f"   (about {max(1, round(seconds / 60))} min left)" if seconds > 30 else ""


def kind(stage: str) -> str:
    """Return the kind of a stage: `train` for workflow/papers/dst/dvc.yaml:train@x."""
    return stage.rpartition(":")[2].partition("@")[0]


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
