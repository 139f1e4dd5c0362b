"""One build at a time in a folder, and the processes that builds start: they are marked, so that none is left over."""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import paths
from pipeline.errors import InputError
from pipeline.graph.job import PATIENCE

if TYPE_CHECKING:
    from psutil import Process

MARK = "SCALEWISE_BUILD"  # names folder and process of the build that a process belongs to
FROM = "SCALEWISE_FROM"  # where the folder of a preset's build lies below the checkout that began it
LOCK = Path("data/scratch/build.lock")
JOB = "pipeline.graph.job"
LONGEST = 60.0  # seconds that DVC has to end: it may be storing what a stage wrote


@contextmanager
def held(path: Path, waiting: str | None = None) -> Iterator[int]:
    """Hold a file's lock, which ends with the process however it ends, and give the file's handle.

    Args:
        path: the file; made where there is none.
        waiting: what to say before waiting for another process that holds it; None: do not wait.

    Raises:
        BlockingIOError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                raise
            print(waiting, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


@contextmanager
def alone(root: Path | None = None) -> Iterator[int]:
    """Be the only build in a folder, by default in this one. Raises InputError where another one is running."""
    path = (root or paths.ROOT) / LOCK
    if root is None and FROM in os.environ:  # held by this process since before it came here
        yield -1
        return
    try:
        with held(path) as handle:
            os.truncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
            yield handle
    except BlockingIOError:
        number = path.read_text(encoding="utf-8") or "just started"
        raise InputError(
            f"Another build (process {number}) is running in this folder; wait for it or end it."
        ) from None


def end_orphans() -> list[str]:
    """End what is left of killed builds of this folder, and return a sentence for each process.

    Raises:
        InputError: a Snakemake that was started by hand is running in this folder.
    """
    import psutil

    builders = marked()
    for process in psutil.process_iter():
        try:
            by_hand = Path(process.cwd()) == paths.ROOT and any("snakemake" in a for a in process.cmdline()[:3])
        except (psutil.Error, OSError):
            continue
        if by_hand and process not in builders and process.pid not in (os.getpid(), os.getppid()):
            raise InputError(f"Snakemake (process {process.pid}) is running in this folder; wait for it or end it.")
    orphans = [process for process, builder in builders.items() if not exists(builder)]
    end(orphans)
    return [f"ended process {process.pid}, left over from a killed build" for process in orphans]


def end_own() -> None:
    """End all that this process's build has started."""
    end([process for process, builder in marked().items() if builder == os.getpid() != process.pid])


def marked() -> dict["Process", int]:
    """Return all processes that a build of this folder started, with the build's number."""
    import psutil

    found = {}
    for process in psutil.process_iter():
        try:
            root, _, builder = process.environ().get(MARK, "").rpartition(":")
        except (psutil.Error, OSError):
            continue
        if root == str(paths.ROOT) and builder.isdigit():
            found[process] = int(builder)
    return found


def end(processes: Iterable["Process"]) -> None:
    """End Snakemake and stages, and wait for DVC, which may be writing; a job ends its stage by itself."""
    import psutil

    kinds = {process: kind(process) for process in processes}
    for process, name in kinds.items():
        if name not in ("shell", "dvc"):
            signalled(process, psutil.Process.terminate)
    left = still_running(kinds, PATIENCE)
    for process in left:
        if kinds[process] in ("status", "other"):
            signalled(process, psutil.Process.kill)
    for process in still_running(left, LONGEST):
        signalled(process, psutil.Process.kill)


def kind(process: "Process") -> str:
    """Return what a process is: `job`, its `shell`, `dvc`, its `status`, `snakemake`, or `other`, such as a stage."""
    import psutil

    try:
        words = process.cmdline()
    except psutil.Error:
        return "other"
    if any(JOB in word for word in words):
        return "job" if JOB in words else "shell"
    names = {Path(word).name for word in words[:3]}
    if "dvc" in names:
        return "status" if "status" in words else "dvc"  # which writes nothing
    return "snakemake" if "snakemake" in names else "other"


def signalled(process: "Process", call) -> None:
    import psutil

    with suppress(psutil.Error):  # it is gone
        call(process)


def still_running(processes: Iterable["Process"], seconds: float) -> Sequence["Process"]:
    """Wait until processes have ended and return those that have not after some seconds."""
    end = time.monotonic() + seconds
    while left := [process for process in processes if exists(process.pid) and process.is_running()]:
        if time.monotonic() > end:
            return left
        time.sleep(0.05)
    return []


def exists(number: int) -> bool:
    """Whether a process is running; one that nobody took note of the end of is not."""
    import psutil

    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
