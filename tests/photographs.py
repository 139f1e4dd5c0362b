"""Real photographs, which nobody may commit: tests of them run where the fetch stage has brought them."""

from pathlib import Path

import pytest

from pipeline import paths


def photographs(name: str) -> Path:
    """Return the folder of a data set of photographs, or skip the test where it is not."""
    path = paths.ROOT / "data/photographs" / name
    if not path.exists():
        pytest.skip(f"{path.relative_to(paths.ROOT)} is not here: python -m pipeline.stages.fetch --preset {name}")
    return path
