"""How COCO's objects are spread over scales, as this project counted it on the published labels."""

import csv
import io
from pathlib import Path

from pipeline import paths
from pipeline.files import read_text

CURVE = Path("reports/benchmarks/annotation_statistics.csv")  # share of train2017's objects up to a relative scale


def curve() -> tuple[list[float], list[float]]:
    """Return scales relative to the image, and the share of COCO's boxes up to each. Raises InputError without them."""
    rows = list(csv.DictReader(io.StringIO(read_text(paths.ROOT / CURVE))))
    return [float(row["relative_scale"]) for row in rows], [float(row["train2017"]) for row in rows]
