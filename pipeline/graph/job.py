"""One stage as a job of Snakemake: `python -m pipeline.graph.job ADDRESS --log FILE` lets DVC bring it up to date.

A build names a file in the environment. Each job adds a line of JSON to it when it starts and another when it ends, and
the build shows those: what DVC and Snakemake print may be worded as they like. Runs once for each of hundreds of short
stages, so it imports nothing heavy but DVC.
"""

import argparse
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from pipeline.graph.gpu_slots import take
from pipeline.stages import RAN

EVENTS = "SCALEWISE_EVENTS"  # names the file of a build's events
AGAIN = 0.5  # seconds between two looks for a stage to end: DVC may be about to start it
PATIENCE = 60.0  # seconds that a stage has between SIGTERM and SIGKILL: a step at full size and its checkpoint


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
    if EVENTS in os.environ:
        os.environ[RAN] = str(mark)
    code = repro(options.address, options.log)
    tell(events, about | {"exit": code, "seconds": time.monotonic() - begin, "ran": mark.exists()})
    mark.unlink(missing_ok=True)
    for handle in gpus:
        os.close(handle)
    return code


def lasting(log: Path) -> str | None:
    """Return what an attempt's log says of bad input (`pipeline.cli.run` does), which no repetition cures."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return next((line for line in reversed(lines) if line.startswith("error: ")), None)


def repro(address: str, log: Path) -> int:
    """Let DVC bring one stage up to date in this process and return its exit code.

    SIGINT and SIGTERM, to this process or to its whole group, end the stage and not DVC, which then writes its locks to
    the end.
    """
    ending = Ending()
    signal.signal(signal.SIGINT, ending.begin)  # DVC ignores it while its stage, which gets it too, is running
    signal.signal(signal.SIGTERM, ending.begin)
    signal.signal(signal.SIGALRM, ending.begin)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    from dvc.cli import main as dvc

    code = dvc(["--wait-for-lock", "repro", "--single-item", address])
    ending.finish()
    return code


class Ending:
    """Ends the processes that DVC started, once a signal asked for it."""

    def __init__(self) -> None:
        self.since: float | None = None
        self.family: set = set()

    def begin(self, *_: object) -> None:
        """Send SIGTERM to what DVC started, SIGKILL where it stays, and look again a little later."""
        import psutil

        self.since = self.since or time.monotonic()
        self.family.update(psutil.Process().children(recursive=True))
        late = time.monotonic() - self.since > PATIENCE
        for process in self.family:
            try:
                process.kill() if late else process.terminate()
            except psutil.Error:
                continue
        signal.setitimer(signal.ITIMER_REAL, AGAIN)

    def finish(self) -> None:
        """Wait until all are gone, also a stage whose shell went before it."""
        while any(process.is_running() for process in self.family):
            time.sleep(AGAIN / 10)
        signal.setitimer(signal.ITIMER_REAL, 0)


def tell(events: str, event: dict[str, object]) -> None:
    """Add one line to a build's events; it is written at once, so lines of jobs side by side stay whole.

    On a full disk it is left out: the stage says so where it matters.
    """
    with suppress(OSError), open(events, "ab", buffering=0) as file:
        file.write(json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
