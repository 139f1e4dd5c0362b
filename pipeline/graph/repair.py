"""Undo, at the start of a build, what a killed run or a full disk left behind."""

import os
import shutil
import time
from collections.abc import Iterable, Mapping

from pipeline import paths
from pipeline.errors import InputError
from pipeline.graph import declared, doors, lock_file, locks, one_build, stand_ins


def repair(known: Mapping[str, declared.Stage]) -> list[str]:
    """Undo what a killed run can leave behind, and return a sentence for each thing done.

    Processes of a build that was killed are ended, locks that DVC did not write to the end are mended, and Snakemake's
    lock of the folder and its marks of unfinished files are taken away, for DVC tells what is finished.

    Raises:
        InputError: a Snakemake started by hand is running in this folder, or DVC cannot work in one of its name.
    """
    if {"{", "}"} & set(str(paths.ROOT)):  # it takes them for places to fill in
        raise InputError(f"DVC cannot work in {paths.ROOT}, whose path holds a brace; move or rename the folder.")
    done = one_build.end_orphans() + lock_file.mend(paths.ROOT) + stand_ins.finish() + locks.mend() + undate(known)
    shutil.rmtree(paths.ROOT / ".snakemake/incomplete", ignore_errors=True)
    if any((paths.ROOT / ".snakemake/locks").glob("*")):
        doors.snakemake("--unlock")
        done.append("unlocked Snakemake after a killed run")
    return done


def undate(known: Mapping[str, declared.Stage]) -> list[str]:
    """Date inputs of stages now that are dated in the future: Snakemake would find all that is made of them too old."""
    now = time.time()
    files = {paths.ROOT / dep for stage in known.values() for dep in stage.deps}
    late = sorted(file for file in files if file.exists() and file.stat().st_mtime > now)
    for file in late:
        os.utime(file, (now, now))
    example = late[0].relative_to(paths.ROOT) if late else ""
    return [f"{len(late)} files were dated in the future, such as {example}; they are dated now"] if late else []


def check_writable(files: Iterable[str]) -> None:
    """Raise InputError where a folder in which files are to be written does not allow it."""
    folders = {(paths.ROOT / file).parent for file in files} | {paths.ROOT / "logs" / "build.log"}
    for folder in sorted(folders):
        while not folder.exists():
            folder = folder.parent
        if not os.access(folder, os.W_OK):
            raise InputError(
                f"{folder.relative_to(paths.ROOT)} must take results, and is no folder that this user can write to; "
                f"make it writable (`chmod -R u+w {folder.relative_to(paths.ROOT)}`, or mount it so)."
            )
