"""A full disk, in one sentence: seen by what is left of it, or by what a stage or a tool said last."""

import shutil

from pipeline import paths
from pipeline.graph.lock_file import MEMORY

ROOM = 2**20  # bytes; a disk with less is full
SAID = ("No space left on device", "There is no space left", "Disk quota exceeded", "disk is full")


def full_disk(*texts: str) -> str | None:
    """Return a sentence that names a folder of the project whose disk is full, None where there is room.

    Args:
        texts: what was said last by what failed; what it could not finish is gone again, so that there may be room.
    """
    for name in (".", "logs", "reports", "data", ".dvc", MEMORY):
        place = paths.ROOT / name
        if place.is_dir() and shutil.disk_usage(place).free < ROOM:
            return f"There is no space left on the disk of {place}; free some, and the same command goes on."
    if any(words in text for text in texts for words in SAID):
        return f"There is too little space on the disk of {paths.ROOT}; free some, and the same command goes on."
    return None
