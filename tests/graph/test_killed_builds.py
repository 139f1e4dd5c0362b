"""Builds that are killed go on by the same command alone, make the same bytes and lose no record."""

import killed_builds
import pytest

pytestmark = pytest.mark.slow


def test_one_kill_of_each_kind(tmp_path):
    """`python tests/graph/killed_builds.py 100` is the long form."""
    assert killed_builds.chains(tmp_path, 4, 4) == dict.fromkeys(killed_builds.KINDS, 1)
