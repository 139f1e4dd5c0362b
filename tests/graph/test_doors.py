"""What the tools of the graph are given besides their arguments."""

import os

import pytest

from pipeline import paths
from pipeline.graph import doors


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Enter a home of which each test says what can be written."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_a_home_that_can_be_written_keeps_its_caches(home):
    assert "XDG_CACHE_HOME" not in doors.environment()


@pytest.mark.parametrize("there", [(), (".cache",)])
def test_caches_lie_in_the_clone_where_the_home_cannot_be_written(home, monkeypatch, there):
    for name in there:
        (home / name).mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(home)))  # root may write anywhere
    assert doors.environment()["XDG_CACHE_HOME"] == str(paths.ROOT / ".snakemake/caches")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert doors.environment()["XDG_CACHE_HOME"] == "/elsewhere"


def test_a_home_that_is_nowhere_is_judged_by_what_is_above_it(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home / "none/at/all"))
    assert "XDG_CACHE_HOME" not in doors.environment()
