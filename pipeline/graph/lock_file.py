"""Keep DVC's file of read and write locks in memory: `python -m pipeline.graph.lock_file`, as `make install` does.

DVC writes `.dvc/tmp/rwlock` four times a stage, also for stages that it skips. It empties the file each time, and ext4
answers that by writing to the disk at once: where nothing is to be done, a run over many stages mostly waits for it.
Measured over all stages (7,398 writes): at its quietest, `dvc repro --dry --allow-missing` took 10.8 s on the disk and
9.4 s in memory, `build catalogue --allow-missing` 10.4 s and 8.0 s; beside other work the writes alone took 26, 41 and
54 s on the disk, 6, 15 and 23 s in memory.
The file names its holders by process, so it never meant anything to another machine or after a restart.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import psutil

from pipeline import paths
from pipeline.errors import InputError
from pipeline.graph.build import exit_code

MEMORY = Path("/dev/shm")  # where Linux has a file system in memory; elsewhere DVC's file stays where it is


def keep_in_memory(root: Path, memory: Path = MEMORY) -> str:
    """Make a checkout's `.dvc/tmp/rwlock` a link into memory and return, in one sentence, what was done or why not.

    The link may dangle, as after a restart: DVC reads a missing file as no locks, and writes through the link. Locks of
    dead processes are dropped, as DVC would. Each checkout has a name of its own in memory.

    Raises InputError where a living process holds a lock, or where the file is not DVC's.
    """
    if not (root / ".dvc").is_dir():
        return f"{root} is no checkout with a .dvc folder, so there is no lock file to move."
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        return f"{memory} is not a folder to write to here, so DVC's lock file stays on the disk."
    lock = root / ".dvc" / "tmp" / "rwlock"
    name = memory / f"dvc-rwlock-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]}"
    if lock.is_symlink() and lock.readlink() == name:
        return f"DVC's lock file is in memory already ({name})."
    if alive := sorted(filter(psutil.pid_exists, holders(lock))):
        raise InputError(f"{lock} holds locks of the processes {alive}; wait until they have ended, then try again.")
    lock.parent.mkdir(parents=True, exist_ok=True)
    link = lock.with_name(f"rwlock.{os.getpid()}")
    link.symlink_to(name)
    link.replace(lock)
    return f"DVC's lock file is in memory now ({name})."


def holders(lock: Path) -> set[int]:
    """Return the processes in DVC's file of locks, `{"read": {path: [{"pid", "cmd"}]}, "write": {path: {...}}}`.

    Raises InputError where the file reads otherwise.
    """
    text = lock.read_text(encoding="utf-8") if lock.exists() else ""
    try:
        locks = json.loads(text or "{}")
        readers = [info for infos in locks.get("read", {}).values() for info in infos]
        return {int(info["pid"]) for info in readers + list(locks.get("write", {}).values()) if info}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        say = f"{lock} is not DVC's file of locks ({error}); delete it if no DVC process is at work."
        raise InputError(say) from error


def main() -> int:
    print(keep_in_memory(paths.ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
