"""A disk that gets full in the middle of a training, of a lock's write and of a report: one sentence each.

After room was made the same command goes on, to the same bytes and with all records. The disk is a real one.
"""

import json
import subprocess

import killed_builds
import pytest
from small_disk import DiskProject, SmallDisk

pytestmark = pytest.mark.slow
DRAWN = ("reports/tiny/metrics/statistics.json", "reports/tiny/figures/statistics.png")
STATISTICS = {
    "cmd": "python -m pipeline.stages.statistics --preset tiny",
    "deps": [killed_builds.PRESET],
    "outs": killed_builds.uncached(*DRAWN),
}
REPORT = killed_builds.STAGES["report"]
STAGES = killed_builds.STAGES | {
    "statistics": STATISTICS,
    "report": REPORT | {"deps": [*REPORT["deps"], DRAWN[0]]},
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return a built project on a small disk, what it makes of both versions of its inputs, and other records."""
    disk = SmallDisk(tmp_path_factory.mktemp("disk") / "small", 100)
    (disk.seen / "project").mkdir()
    project = DiskProject(disk)
    made = killed_builds.make_project(project, STAGES)
    others = killed_builds.add_bystanders(project, 1500)
    yield project, made, others
    disk.close()


def in_a_training(project):
    return any(log.stat().st_size for log in (project.root / "data/scratch").glob("*/log.jsonl"))


def in_a_lock(project):
    return (project.root / "dvc.lock").stat().st_size < 100_000  # DVC has emptied it


def in_a_figure(project):
    return any((project.root / "reports/tiny/figures").glob(".statistics-*"))


@pytest.mark.parametrize("moment", [in_a_training, in_a_lock, in_a_figure])
def test_a_disk_that_gets_full(built, moment):
    project, made, others = built
    version = 1 - killed_builds.version_of(project)
    killed_builds.edit(project, version)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(
        project.command(*killed_builds.COMMAND), cwd=project.root, env=project.environment, **pipes
    )
    while not moment(project):
        assert process.poll() is None, process.stdout.read()
    project.disk.fill()
    said, _ = process.communicate()
    assert process.returncode in (1, 2), said
    assert said.rstrip().endswith("the same command goes on."), said
    assert "Traceback" not in said
    assert killed_builds.started_by_builds(project) == []
    full = project.run(*killed_builds.COMMAND, check=False)  # the disk is still full
    assert full.returncode in (1, 2), full.stdout
    assert "Traceback" not in full.stdout, full.stdout
    project.disk.make_room()
    project.run(*killed_builds.COMMAND)
    found = killed_builds.outputs(project)
    summary = json.loads(found[killed_builds.SUMMARY])
    if summary.pop("checkpoints_failed", 0):  # which the summary says, and no other output
        wanted = made[version] | {out: found[out] for out in (killed_builds.SUMMARY, "reports/tiny/index.md")}
        assert summary == json.loads(made[version][killed_builds.SUMMARY])
    else:
        wanted = made[version]
    killed_builds.check_whole(project, wanted, others)
