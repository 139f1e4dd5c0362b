"""One stage as a job of Snakemake: `python -m pipeline.graph.job ADDRESS --log FILE` asks DVC to bring it up to date.

A build names a file in the environment. Each job adds a line of JSON to it when it starts and another when it ends, and
the build shows those: what DVC and Snakemake print may be worded as they like. Runs once for each of hundreds of short
stages, so it imports nothing heavy.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline.graph.gpu_slots import take
from pipeline.stages import RAN

EVENTS = "SCALEWISE_EVENTS"  # names the file of a build's events


def main() -> int:
    """Run the job and return DVC's exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.graph.job", description="Bring one stage up to date.")
    parser.add_argument("address", help="the stage, as `dvc repro` takes it from the root")
    parser.add_argument("--log", type=Path, required=True, help="where DVC and the stage write what they print")
    parser.add_argument("--gpus", type=int, default=0, help="how many GPUs of this machine it may use")
    parser.add_argument("--attempt", type=int, default=1, help="number of the attempt, from 1")
    options = parser.parse_args()
    if options.attempt > 1 and (said := lasting(options.log)):
        print(f"{options.address} is not tried again: {said}", file=sys.stderr)
        return 2
    gpus = take(options.gpus)  # held until this process ends
    events = os.environ.get(EVENTS, os.devnull)
    mark = Path(f"{events}.{os.getpid()}")
    about = {"stage": options.address, "log": options.log.as_posix()}
    begin = time.monotonic()
    tell(events, about)
    code = repro(options.address, options.log, {RAN: str(mark)} if EVENTS in os.environ else {})
    tell(events, about | {"exit": code, "seconds": time.monotonic() - begin, "ran": mark.exists()})
    mark.unlink(missing_ok=True)
    for handle in gpus:
        os.close(handle)
    return code


def lasting(log: Path) -> str | None:
    """Return what an attempt's log says of bad input (`pipeline.cli.run` does), which no repetition cures."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return next((line for line in reversed(lines) if line.startswith("error: ")), None)


def repro(address: str, log: Path, environment: dict[str, str]) -> int:
    """Let DVC bring one stage up to date and return its exit code, however it ended.

    A signal to the whole group, as from a terminal or a cluster, reaches DVC by itself: it is waited for, so that it
    can end its stage and leave its lock whole. One that was sent to this process alone is passed on.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", address]
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT)
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    code = process.wait()
    return code if code >= 0 else 128 - code  # as a shell says that a signal ended it


def tell(events: str, event: dict[str, object]) -> None:
    """Add one line to a build's events; it is written at once, so lines of jobs side by side stay whole."""
    with open(events, "ab", buffering=0) as file:
        file.write(json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
