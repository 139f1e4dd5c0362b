"""A tiny preset with rendered data, for tests that train; made-up results, for reports; a short list of skips."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from fake_results import Fake
from skips import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401

from pipeline import paths
from pipeline.layers.native import convolution


@pytest.fixture(scope="session", autouse=True)
def without_kernel() -> Iterator[None]:
    """Test what a fresh clone has, whether or not PSConv's C++ kernel was built here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "load", lambda: None)
        yield


@pytest.fixture(autouse=True)
def on_the_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide a real GPU, whose sums vary from run to run, from every test that is not marked `gpu`."""
    if "gpu" in request.keywords or request.config.pluginmanager.hasplugin("pretended"):
        return
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    if "torch" in sys.modules:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def project(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a copy of the project's workflow folder that a test may spoil, with preset mini active."""
    shutil.copytree(paths.ROOT / "workflow", empty_folder / "workflow")
    (empty_folder / "params.yaml").write_text("preset: mini\n")
    monkeypatch.setattr(paths, "ROOT", empty_folder)
    return empty_folder


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tiny preset's verified images and the init `resnet50`, made once."""
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        tiny.make_files()
    return folder


@pytest.fixture
def tiny_project(tiny_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a copy of the tiny preset's files of a test's own."""
    folder = tmp_path / "project"
    shutil.copytree(tiny_files, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def fake(empty_folder: Path) -> Fake:
    """Enter an empty folder, and return what writes results of preset mini into it."""
    return Fake()
