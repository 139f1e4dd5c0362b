"""The numbers of `tests/official`: what the authors' public code computed, and what the papers' formulas give."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files import read_json

FOLDER = Path(__file__).with_name("official")


def load_case(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the settings of a case, such as `psconv/case_01`."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays), read_json(FOLDER / f"{name}.json")


def load_derived(name: str) -> Any:
    """Return a table that was worked out from what the papers print, such as `pod_table_3`."""
    return read_json(FOLDER / "derived" / f"{name}.json")
