"""Keep DVC's file of read and write locks in memory: `python -m pipeline.graph.lock_file`, as `make install` does.

DVC writes `.dvc/tmp/rwlock` four times a stage, also for stages that it skips. It empties the file each time, and ext4
answers that by writing to the disk at once: where nothing is to be done, a run over many stages mostly waits for it.
Measured over all stages (7,398 writes): at its quietest, `dvc repro --dry --allow-missing` took 10.8 s on the disk and
9.4 s in memory, `build catalogue --allow-missing` 10.4 s and 8.0 s; beside other work the writes alone took 26, 41 and
54 s on the disk, 6, 15 and 23 s in memory.
The file names its holders by process, so it never meant anything to another machine or after a restart.
"""

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.graph.one_build import held, kind

LOCKS = Path(".dvc/tmp/rwlock")
MEMORY = Path("/dev/shm")  # where Linux has a file system in memory; elsewhere DVC's file stays where it is


def keep_in_memory(root: Path, memory: Path = MEMORY) -> str:
    """Make a checkout's `.dvc/tmp/rwlock` a link into memory and return, in one sentence, what was done or why not.

    The link may dangle, as after a restart: DVC reads a missing file as no locks, and writes through the link. A file
    that names holders stays, living or not: the next DVC command clears it. Each checkout has its own name in memory: a
    link that came with a copied checkout is replaced.
    """
    if not (root / ".dvc").is_dir():
        return f"{root} is no checkout with a .dvc folder, so there is no lock file to move."
    lock, name = root / LOCKS, own_name(root, memory)
    if not has_room(memory):
        if lock.is_symlink():
            lock.unlink()
        return f"{memory} is not a folder with room to write to here, so DVC's lock file stays on the disk."
    if lock.is_symlink() and lock.readlink() == name:
        return f"DVC's lock file is in memory already ({name})."
    if not lock.is_symlink() and lock.exists() and "pid" in lock.read_text(encoding="utf-8"):
        return f"{lock} holds locks, so it stays on the disk; run this again when no DVC command is at work."
    lock.parent.mkdir(parents=True, exist_ok=True)
    link = lock.with_name(f"rwlock.{os.getpid()}")
    link.symlink_to(name)
    link.replace(lock)
    return f"DVC's lock file is in memory now ({name})."


def mend(root: Path, memory: Path = MEMORY) -> list[str]:
    """Make a checkout's file of locks one that DVC can use, and return a sentence for each thing done.

    A link of another checkout, or into memory that is full or gone, is replaced; a file that is empty or torn after a
    kill or a full disk is written anew; holders that are no running DVC are taken out.
    """
    lock, said = root / LOCKS, []
    if not lock.parent.is_dir():
        return []
    with held(lock.with_name("rwlock.lock"), "DVC is at work in this folder; waiting for it."):
        if lock.is_symlink() and (lock.readlink() != own_name(root, memory) or not has_room(memory)):
            said.append(keep_in_memory(root, memory))
        if not lock.exists():
            return said
        text = lock.read_text(encoding="utf-8", errors="replace")
        try:
            found = json.loads(text)
            writers = {path: holder for path, holder in found.get("write", {}).items() if is_dvc(holder)}
            readers = {path: list(filter(is_dvc, holders)) for path, holders in found.get("read", {}).items()}
        except (ValueError, TypeError, AttributeError, KeyError):
            found, writers, readers = None, {}, {}
            said.append("wrote DVC's file of locks anew, torn by a killed run or a full disk")
        live = {"write": writers, "read": {path: holders for path, holders in readers.items() if holders}}
        if found != live:
            lock.write_text(json.dumps(live), encoding="utf-8")
    return said


def own_name(root: Path, memory: Path) -> Path:
    """Return the file in memory that belongs to a checkout."""
    return memory / f"dvc-rwlock-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]}"


def has_room(memory: Path) -> bool:
    """Whether a folder is there that takes a file as large as DVC's file of locks becomes."""
    try:
        with tempfile.TemporaryFile(dir=memory) as file:
            file.write(bytes(2**16))
        return True
    except OSError:
        return False


def is_dvc(holder: dict[str, Any]) -> bool:
    """Whether the process that holds a lock is a running DVC, not another one that got its number since."""
    import psutil

    try:
        return kind(psutil.Process(holder["pid"])) in ("job", "dvc")  # one that ended unnoticed has no command line
    except psutil.Error:
        return False


if __name__ == "__main__":
    sys.exit(print(keep_in_memory(paths.ROOT)))
