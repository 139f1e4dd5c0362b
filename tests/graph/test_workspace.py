"""A preset built in a folder of its own: nothing in the checkout changes, and edits reach it."""

import subprocess

import pytest
from graph_project import copy_project

from pipeline import config, paths
from pipeline.files import read_yaml, write_text
from pipeline.graph import declared, workspace
from pipeline.published.headline import COMBINED

TOUR = config.load_preset("tour")
DST = "dst_frcnn_r50_fpn_1x_dst"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A project of a few files, as the workspace sees it."""
    for name in ("pipeline", "data/published"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.py").write_text("a = 1\n")
    (tmp_path / "params.yaml").write_text("preset: mini\nmachine: {workers: 2}\n")
    (tmp_path / "workflow").symlink_to(paths.ROOT / "workflow")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def test_what_is_copied(checkout):
    place = workspace.sync("mini")
    assert place == checkout / "build/mini"
    copied, lock = place / "pipeline/a.py", place / "workflow/papers/dst/dvc.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("its own")
    assert read_yaml(place / "params.yaml") == {"preset": "mini", "machine": {"workers": 2}}
    assert copied.stat().st_mtime_ns == (checkout / "pipeline/a.py").stat().st_mtime_ns
    copied.chmod(0o400)  # copying again would replace it
    (checkout / "pipeline/a.py").rename(checkout / "pipeline/b.py")
    workspace.sync("mini")
    assert sorted(file.name for file in (place / "pipeline").iterdir()) == ["b.py"]
    assert lock.read_text() == "its own"


def test_the_tour_needs_nothing_that_it_leaves_out(tmp_path):
    for name in ("workflow", "dvc.yaml", "params.yaml"):
        subprocess.run(["cp", "-r", paths.ROOT / name, tmp_path], check=True)
    without = workspace.left_out(TOUR)
    assert set(without) - set(TOUR.leaves_out) == {COMBINED}
    for path, text in workspace.shortened(without, TOUR.shares).items():
        (tmp_path / path).write_text(text)
    known = declared.stages(tmp_path)
    alone = {f"{kind}@{name}" for kind in ("train", "evaluate", "measure") for name in TOUR.shares}
    assert alone.isdisjoint(name.rpartition(":")[2] for name in declared.ancestors("quickstart", known))
    stages = declared.ancestors("quickstart", known)
    needed = {file for name in stages for file in (*known[name].deps, *known[name].outs)}
    assert [file for file in needed for name in without if f"{name}." in file or f"/{name}/" in file] == []
    kinds = {known[name].command.split()[2].rpartition(".")[2] for name in stages}
    every = declared.ancestors("quickstart", declared.stages())
    every = {declared.stages()[name].command.split()[2].rpartition(".")[2] for name in every}
    assert kinds == every - {"identities"}
    methods = ("gsl", "fd", "dst", "msfm", "snip", "psconv")
    assert all(any(f"train@{p}_" in s and s.endswith(f"_{m}") for s in stages for p in paths.PAPERS) for m in methods)


def test_results_of_a_shared_training_are_links_as_long_as_it_is_shared(tmp_path):
    for name in ("workflow", "dvc.yaml", "params.yaml"):
        subprocess.run(["cp", "-r", paths.ROOT / name, tmp_path], check=True)
    write_text(tmp_path / paths.PARAMS, "preset: tour\n")
    own, other = (tmp_path / paths.metrics("tour", name) for name in ("pod_frcnn_r50_fpn_1x", "dst_frcnn_r50_fpn_1x"))
    workspace.link_shared(tmp_path, "tour", {"pod_frcnn_r50_fpn_1x": "dst_frcnn_r50_fpn_1x"})
    write_text(other, "{}")
    assert own.read_text() == "{}"
    assert not (tmp_path / paths.metrics("tour", "pod_frcnn_r50_fpn_1x_fd")).is_symlink()
    workspace.link_shared(tmp_path, "tour", {})
    assert not own.is_symlink()
    assert other.read_text() == "{}"


@pytest.mark.slow
def test_nothing_tracked_changes_and_edits_reach_the_tour(tmp_path):
    project = copy_project(tmp_path / "project")
    build = ("python", "-m", "pipeline.graph", "build", "headline_dst_t2", "--preset", "tour", "--cores", "2")
    log = project.root / "build/tour/ran.txt"

    def ran():
        lines = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return {line.rpartition(":")[2] for line in lines if "@" in line}

    def stages(*names):
        return {f"{kind}@{name}" for name in names for kind in ("train", "predict", "evaluate")}

    assert "headline_dst_t2 is built" in project.run(*build).stdout
    both = (DST, "dst_frcnn_r50_fpn_1x")
    assert ran() == stages(*both) | {"pretrain@resnet50"} | {f"measure@{name}" for name in both}
    assert "headline_dst_t2 is up to date" in project.run(*build).stdout
    file = project.root / f"workflow/papers/dst/experiments/{DST}.yaml"
    file.write_text(file.read_text().replace("components: 4", "components: 9"))
    project.run(*build)
    assert ran() == stages(DST)
    assert project.run("git", "status", "--porcelain").stdout.split() == ["M", str(file.relative_to(project.root))]
    assert project.ran() == set()
