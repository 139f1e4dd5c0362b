"""Pictures of a folder, or one file, to detect in: found, checked before anything is detected, read when needed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline.data.images import read_image
from pipeline.data.labelled.image_folder import SUFFIXES
from pipeline.errors import InputError
from pipeline.markdown import plural
from pipeline.prediction.released import pixels

NAMED = 5  # damaged pictures that an error names


def find_pictures(place: Path, without: Path | None = None) -> tuple[Path, list[str], int]:
    """Return the folder, names of the pictures in it and below it, sorted, and how many other files lie there.

    Args:
        place: a folder, or one picture, whatever its name ends in.
        without: a folder that is left out, as results are written there.

    Raises:
        InputError: there is no such place, or no picture in it.
    """
    if place.is_file():
        return place.parent, [place.name], 0
    if not place.is_dir():
        raise InputError(f"{place} does not exist; name a folder of pictures or one picture after --images.")
    names, others = [], 0
    for folder, folders, files in os.walk(place):
        here = Path(folder)
        folders[:] = [one for one in folders if not one.startswith(".") and (here / one).resolve() != without]
        seen = [file for file in files if not file.startswith(".")]  # a Mac's `._name` is no picture
        own = [file for file in seen if Path(file).suffix.lower() in SUFFIXES]
        names += [(here / file).relative_to(place).as_posix() for file in own]
        others += len(seen) - len(own)
    if not names:
        there = f"{plural(others, 'file')}, but no picture" if others else "no picture"
        raise InputError(f"{place} holds {there} (their names end in {', '.join(SUFFIXES)}); name another folder.")
    return place, sorted(names), others


class PictureFolder:
    """Pictures of a folder in the place of a `DetectionSet`: sizes are known, pixels are read when they are needed.

    Attributes:
        entries: `id` from 1 in the order of the names, `file_name`, `width` and `height` as detected in.
    """

    proposals = None

    def __init__(self, root: Path, names: list[str], levels: float, turn: bool, most: float) -> None:
        """Check every picture to its end.

        Args:
            root: the folder.
            names: of the files in it.
            levels: how many grey levels of 16-bit and float pictures become 256.
            turn: whether pictures with an EXIF orientation are turned upright.
            most: million pixels of the largest picture.

        Raises:
            InputError: pictures are damaged or too large; it counts them and names the first.
        """
        self.root, self.levels, self.turn = root, levels, turn
        self.entries: list[dict[str, Any]] = []
        wrong = []
        for number, name in enumerate(tqdm(names, "pictures checked", file=sys.stderr, mininterval=2.0), start=1):
            try:
                found = read_image(str(root / name), name, str(root), most)
            except InputError as error:
                wrong.append(str(error).removeprefix(f"{root}: image file ").partition(";")[0].rstrip("."))
                continue
            width, height = found.size[::-1] if turn and found.orientation > 4 else found.size
            self.entries.append({"id": number, "file_name": name, "width": width, "height": height})
        if wrong:
            more = f", and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
            raise InputError(
                f"{len(wrong)} of {len(names)} pictures in {root} cannot be detected in: {', '.join(wrong[:NAMED])}"
                f"{more}; restore them or take them out."
            )
        self.boxes = [torch.zeros(0, 4)] * len(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def image(self, row: int) -> Tensor:
        """Return picture `row` as uint8 [3, H, W]."""
        return pixels(self.root / self.entries[row]["file_name"], self.levels, self.turn)

    def size(self, row: int) -> tuple[int, int]:
        """Return (height, width)."""
        return self.entries[row]["height"], self.entries[row]["width"]
