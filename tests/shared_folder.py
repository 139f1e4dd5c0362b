"""Official fixtures and data that lie beside a checkout, in `../shared`; tests that need them are skipped elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def shared(name: str) -> Path:
    """Return a file or folder of `../shared`, or skip the test where it is not."""
    path = ROOT / ".." / "shared" / name
    if not path.exists():
        pytest.skip(f"../shared/{name} is not beside this checkout")
    return path
