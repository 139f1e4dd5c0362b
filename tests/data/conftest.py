"""What tests of data stand in and ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_sets import write_images
from unreliable_server import Server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the images of the tiny data set."""
    write_images(tmp_path / "images")
    return tmp_path


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        yield found
