"""Classes of ImageNet's validation images where these lie in one folder, as their archive has them.

Either `LOC_val_solution.csv` of Kaggle's copy says them, or the development kit `ILSVRC2012_devkit_t12` of the official
one; each lies in the folder of the images or beside it.
"""

import csv
import io
from pathlib import Path

from pipeline.errors import InputError, reading
from pipeline.files import read_text

SOLUTION = "LOC_val_solution.csv"
DEVKIT = "ILSVRC2012_devkit_t12"
TRUTH, SYNSETS = "data/ILSVRC2012_validation_ground_truth.txt", "data/meta.mat"  # of the kit


def said_by(root: Path) -> Path | None:
    """Return the file or folder that says the classes of a folder's images, None where there is none."""
    return next(
        (path for name in (SOLUTION, DEVKIT) for path in (root / name, root.parent / name) if path.exists()), None
    )


def classes_of(source: Path) -> list[tuple[str, str]]:
    """Return the name and the class (`n01440764`) of every image that a solution or a development kit lists.

    Raises:
        InputError: it is not as published, or SciPy, which reads the kit's MATLAB file, is not installed.
    """
    return of_devkit(source) if source.is_dir() else of_solution(source)


def of_solution(path: Path) -> list[tuple[str, str]]:
    """Read a line for each image: its name without `.JPEG`, and its boxes, each after its class."""
    found = []
    for line, row in enumerate(csv.DictReader(io.StringIO(read_text(path))), 2):
        boxes = (row.get("PredictionString") or "").split()
        if not row.get("ImageId") or not boxes:
            raise InputError(f"{path}, line {line} has not `ImageId,PredictionString`; take the file as published.")
        found.append((f"{row['ImageId']}.JPEG", boxes[0]))
    return found


def of_devkit(folder: Path) -> list[tuple[str, str]]:
    """Read a line for each image in the order of their numbers, with the number of a class that meta.mat has."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise InputError(
            f"{folder / SYNSETS} is a MATLAB file, and the package that reads it is missing; pip install scipy, or put "
            f"{SOLUTION} of Kaggle's copy beside {folder}."
        ) from error
    numbers = read_text(folder / TRUTH).split()
    with reading(folder, "unpack the kit anew, as published"):
        synsets = loadmat(folder / SYNSETS, squeeze_me=True)["synsets"]
        names = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if row["num_children"] == 0}
        return [(f"ILSVRC2012_val_{row:08d}.JPEG", names[int(number)]) for row, number in enumerate(numbers, 1)]
