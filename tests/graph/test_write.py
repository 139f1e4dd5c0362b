"""`graph write`: nothing derived is kept by hand; an experiment, a table or a paper more is what its files say."""

from pathlib import Path

import pytest
from graph_project import copy_project

from pipeline import paths
from pipeline.errors import InputError
from pipeline.graph import declared, observed, write
from pipeline.graph.indexes import Folder

KINDS = ("train", "predict", "evaluate", "measure")
EXPERIMENT = """\
detector: faster_rcnn
backbone: resnet50
neck: fpn
dataset: coco
recipe: sixth
init: resnet50
notes: {row: table 1, cost: none}
"""
ROW = """\
      - {{id: {id}, label: {id}, factors: {{method: {id}}}, values: {{ap: {ap}}}, ours: true, role: {role}, \
experiments: [{experiment}]{more}}}
"""


@pytest.mark.slow  # half a minute; CI runs it
def test_committed_files_are_what_write_makes():
    changed = ", ".join(map(str, write.outdated()))
    assert not changed, f"{changed}: not what `python -m pipeline.graph write` makes of the declarations; run it."


@pytest.mark.slow
def test_a_paper_more_is_its_experiments_its_published_file_and_its_name(tmp_path):
    project = copy_project(tmp_path / "project", fake=False)
    names = project.root / "pipeline/paths.py"
    names.write_text(names.read_text().replace('"psconv")', '"psconv", "sixth")'))
    folder = project.root / "workflow/papers/sixth/experiments"
    folder.mkdir(parents=True)
    recipe = (project.root / "workflow/schedules/msfm.yaml").read_text()
    (project.root / "workflow/schedules/sixth.yaml").write_text(recipe)
    base, ours = "sixth_frcnn_r50_fpn_1x", "sixth_frcnn_r50_fpn_1x_wide"
    (folder / f"{base}.yaml").write_text(EXPERIMENT)
    (folder / f"{ours}.yaml").write_text(f"{EXPERIMENT}method: {{psconv: {{dilations: [1, 2, 1, 4]}}}}\n")
    published = "paper: {key: sixth, title: Sixth, year: 2026}\ntables:\n  - id: sixth_t1\n    title: Table 1\n"
    published += "    dataset: coco\n    split: minival\n    unit: percent\n    columns: [ap]\n    rows:\n"
    published += ROW.format(id="plain", ap=37.0, role="baseline", experiment=base, more="")
    published += ROW.format(id="wide", ap=38.0, role="method", experiment=ours, more=", baseline_row: plain")
    (project.root / "data/published/sixth.yaml").write_text(published)
    said = project.run("python", "-m", "pipeline.graph", "write").stdout.splitlines()
    own = {f"workflow/papers/sixth/{name}" for name in ("experiments.yaml", "dvc.yaml", "tables/dvc.yaml")}
    assert set(said) == own | {"dvc.yaml", "workflow/data/dvc.yaml", "docs/differences.md"}

    known = declared.stages(project.root)
    stages = {f"workflow/papers/sixth/dvc.yaml:{kind}@{name}" for kind in KINDS for name in (base, ours)}
    stages |= {"workflow/papers/sixth/tables/dvc.yaml:sixth_t1", "page_sixth"}
    assert {address for address in known if "sixth" in address} == stages
    assert stages <= declared.ancestors("report", known)
    listed = project.run("dvc", "stage", "list", "--all", "--name-only").stdout.split()
    assert stages <= set(listed)
    invent = "from pipeline.graph.invented import write_results; from pipeline.graph import declared; "
    project.run("python", "-c", f"{invent}write_results('mini', declared.stages())")
    project.run(*known["workflow/papers/sixth/tables/dvc.yaml:sixth_t1"].command.split())
    project.run(*known["page_sixth"].command.split())
    assert "| wide |" in (project.root / paths.table("mini", "sixth_t1")).read_text()
    assert "# SIXTH under preset mini" in (project.root / paths.page("mini", "sixth")).read_text()


def kind(**changed):
    body = {"foreach": "experiments", "desc": "d", "cmd": "c", "deps": ["init/${item.init}", "${item.proposals}"]}
    return {"experiments": {"train": body | changed}}


def test_what_experiments_lack_is_no_dependency_and_a_mixed_folder_is_one_sentence():
    folder = Folder(Path("workflow/x"), ("experiments",), {"experiments": {"a": {"init": "i"}, "b": {"init": "i"}}})
    stage = write.dvc_yaml(folder, kind())["stages"]["train"]
    assert stage == {
        "foreach": "${experiments}",
        "do": {"desc": "d", "cmd": "c", "wdir": "../..", "deps": ["init/${item.init}"]},
    }
    folder.index["experiments"]["b"]["proposals"] = "rpn"
    with pytest.raises(
        InputError, match=r"workflow/x: train: b needs .* and a does not; give them folders of their own"
    ):
        write.dvc_yaml(folder, kind())
    assert write.dvc_yaml(Folder(Path("workflow/x"), ("experiments",)), kind())["stages"] == {}


def test_named_experiments_stand_where_their_evaluations_are_and_unknown_ones_are_one_sentence():
    body = kind(foreach=["dst_frcnn_r50_fpn_1x"], deps=[])
    for evaluations, found in (({"dst_frcnn_r50_fpn_1x": {"test": "single"}}, True), ({"other": {}}, False)):
        folder = Folder(Path("workflow/x"), ("experiments",), {"evaluations": evaluations})
        assert bool(write.dvc_yaml(folder, body)["stages"]) == found
    with pytest.raises(InputError, match=r"workflow/stages\.yaml names 'dst_nothing', which has no experiment file"):
        write.dvc_yaml(Folder(Path(), ("experiments",)), kind(foreach=["dst_nothing"]))


def test_paper_stands_for_each_paper_in_names_and_lists():
    pages = dict(write.by_paper("page_${paper}", {"cmd": "page ${paper}"}))
    assert pages == {f"page_{paper}": {"cmd": f"page {paper}"} for paper in paths.PAPERS}
    ((_, body),) = write.by_paper("plan", {"deps": ["a", "x/${paper}"], "outs": [{"o/${paper}": {"cache": False}}]})
    assert body["deps"] == ["a", *(f"x/{paper}" for paper in paths.PAPERS)]
    assert body["outs"] == [{f"o/{paper}": {"cache": False}} for paper in paths.PAPERS]


def test_a_page_that_cannot_be_made_ends_in_a_sentence_and_does_not_hang(monkeypatch):
    monkeypatch.setattr("sys.argv", [])
    with pytest.raises(InputError, match=r"`python -m pipeline\.stages\.page dts --preset mini` ended with 2"):
        observed.reads(declared.Stage("page_dts", "python -m pipeline.stages.page dts --preset mini", (), ()))
