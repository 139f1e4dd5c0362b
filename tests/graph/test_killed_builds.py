"""Builds that are killed, or whose disk is full, go on by the same command alone and lose no record."""

import resource

import killed_builds
import pytest

from pipeline.graph import locks

pytestmark = pytest.mark.slow


def test_one_kill_of_each_kind(tmp_path):
    """`python tests/graph/killed_builds.py 100` is the long form."""
    assert killed_builds.chains(tmp_path, 4, 4) == dict.fromkeys(killed_builds.KINDS, 1)


def test_a_full_disk_in_the_middle_of_a_lock(tmp_path):
    """A largest size of files stands in for the disk: DVC empties dvc.lock and cannot write all of it again."""
    project = killed_builds.make_project(tmp_path / "project")
    project.run(*killed_builds.COMMAND)
    others = killed_builds.add_bystanders(project, 1500)
    project.run(*killed_builds.COMMAND)
    killed_builds.edit(project, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((project.root / "dvc.lock").stat().st_size - 1000, hard))
    try:
        failed = project.run(*killed_builds.COMMAND, check=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert failed.returncode == 1, failed.stdout
    assert "the same command goes on" in failed.stdout
    assert len(locks.records((project.root / "dvc.lock").read_text())) < len(others)
    assert "mended dvc.lock, torn by a killed run or a full disk" in project.run(*killed_builds.COMMAND).stdout
    records = locks.records((project.root / "dvc.lock").read_text())
    assert {name: records.get(name) for name in others} == others
