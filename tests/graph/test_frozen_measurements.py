"""What `graph build` takes for out of date: stages of the graph, and no measurement that a page merely shows."""

from pipeline.graph import build, declared


def test_a_frozen_measurement_that_a_page_shows_is_no_stage_to_build(monkeypatch):
    known = declared.stages()
    found = {"benchmarks/dvc.yaml:layers": ["changed outs"], "methods": ["changed deps"]}
    monkeypatch.setattr(build.doors, "status", lambda address: found)
    monkeypatch.setattr(build.code_digest, "stale", list)
    assert build.stale_stages(["methods"], known) == ["methods"]


def test_every_stage_that_is_left_out_is_a_measurement():
    root = declared.paths.ROOT
    files = (file.relative_to(root) for file in root.rglob("dvc.yaml"))
    named = {file.parent.name for file in files if not {".venv", "build"}.intersection(file.parts)}
    within = {file.relative_to(root).parent.name for file in declared.dvc_files(root)}
    assert named - within == {"benchmarks"}
