"""Jobs side by side on one machine share its GPUs: each takes free ones by locking files, until its process ends."""

import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path

from pipeline.devices import visible

AGAIN = 1.0  # seconds between two looks for a free GPU


def take(count: int, folder: Path | None = None) -> list[int]:
    """Take some of the machine's free GPUs, waiting until there are, and let CUDA of this process's children see those.

    The kernel frees them when the process ends, however it ends. Jobs of other checkouts and users take part. Under
    SLURM nothing is taken, because the job has GPUs of its own.

    Args:
        count: GPUs to take; all where there are fewer.
        folder: of the lock files, on this machine; by default the system's for temporary files.

    Returns:
        Handles of the locked files.
    """
    names = visible()
    count = min(count, len(names))
    if count == 0 or "SLURM_JOB_ID" in os.environ:
        return []
    folder = folder or Path(tempfile.gettempdir())
    told = False
    while True:
        held: dict[str, int] = {}
        for name in names:
            handle = locked(folder / f"scalewise-gpu-{name}.lock")
            if handle is not None:
                held[name] = handle
            if len(held) == count:
                os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held)
                return list(held.values())
        for handle in held.values():  # all or none: two jobs that wait for each other's would wait for ever
            os.close(handle)
        if not told:
            print(f"Waiting for {count} of the GPUs {', '.join(names)}: others are at work on them.", file=sys.stderr)
            told = True
        time.sleep(AGAIN)


def locked(path: Path) -> int | None:
    """Return the handle of a file that is now locked, None where another process has locked it."""
    try:
        handle = os.open(path, os.O_RDONLY)  # another user's file cannot be written, and a lock needs no writing
    except FileNotFoundError:
        handle = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
