"""CIFAR-100's binary version: records of two label bytes and 3,072 pixel bytes; pickled files are never read."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.files import read_text

RECORD = 2 + 3 * 32 * 32
CLASSES = 100


@dataclass(frozen=True)
class LabelledPixels:
    """Images of one size in memory and their class ids from 0."""

    pixels: np.ndarray  # [n, 3, H, W] uint8
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, row: int) -> np.ndarray:
        """Return an image [H, W, 3] uint8."""
        return self.pixels[row].transpose(1, 2, 0)

    @property
    def digest(self) -> str:
        """Hash of pixels and labels."""
        content = np.ascontiguousarray(self.pixels).tobytes() + repr(self.labels).encode()
        return hashlib.sha256(content).hexdigest()


def read_cifar100(path: Path) -> LabelledPixels:
    """Read `train.bin` or `test.bin` with the fine labels, and their names from `fine_label_names.txt` beside it.

    Raises:
        InputError: the file is missing, pickled or cut short, or has a label above 99.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; unpack CIFAR-100's binary version (cifar-100-binary.tar.gz) there.")
    content = np.fromfile(path, np.uint8)
    if len(content) == 0 or len(content) % RECORD:
        raise InputError(
            f"{path} has {len(content)} bytes, which are no whole number of {RECORD}-byte records; take the binary "
            "version (the python version is a pickle and is never read), or restore the file."
        )
    records = content.reshape(-1, RECORD)
    labels = records[:, 1]
    if labels.max() >= CLASSES:
        row = int(np.argmax(labels >= CLASSES))
        raise InputError(f"{path}: record {row} has fine label {labels[row]}, but labels end at 99; restore the file.")
    names = path.parent / "fine_label_names.txt"
    classes = tuple(read_text(names).split()) if names.is_file() else tuple(str(i) for i in range(CLASSES))
    if len(classes) != CLASSES:
        raise InputError(f"{names} holds {len(classes)} names, but CIFAR-100 has {CLASSES}; restore the file.")
    return LabelledPixels(records[:, 2:].reshape(-1, 3, 32, 32), tuple(int(v) for v in labels), classes)


def first_of_each_class(data: LabelledPixels, classes: int | None, limit: int | None) -> LabelledPixels:
    """Return the first `limit` images of each of the first `classes` classes; None takes all."""
    labels = np.array(data.labels)
    kept = np.zeros(len(labels), bool)
    for label in range(classes or len(data.classes)):
        kept[np.nonzero(labels == label)[0][:limit]] = True
    rows = np.nonzero(kept)[0]
    return LabelledPixels(data.pixels[rows], tuple(labels[rows].tolist()), data.classes[: classes or None])
