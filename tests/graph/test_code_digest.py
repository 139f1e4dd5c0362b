"""Import closures: every way of importing, on a small made-up package, and the real stages against a real import."""

import ast
import shutil
import subprocess
import sys

import pytest

from pipeline import code_digest, paths
from pipeline.closure import UNDIGESTED, Closure, code_only
from pipeline.code_digest import split, stale, write
from pipeline.errors import InputError

LAZY = """
from pipeline.lazy import lazy
__getattr__, __all__ = lazy(__name__, {"collage": "mixing", "Chips": "chips", "other": "other"})
"""
FILES = {
    "__init__": "",
    "paths": "",
    "files": "",
    "parts": "",
    "stages/__init__": "",
    "stages/train": "from pipeline.training import loop\ndef main():\n    import pipeline.models.build\n",
    "stages/table": "from pipeline.reporting.tables import write\nfrom pipeline import paths\n",
    "stages/chips": "from pipeline.data import Chips\n",
    "stages/unknown": "from pipeline.data import computed\n",
    "stages/whole": "import pipeline.data as data\n",
    "stages/dynamic": "import importlib\nimportlib.import_module('pipeline.files')\n",
    "stages/typing": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pipeline.paths\n",
    "training/__init__": "",
    "training/loop": "from . import schedule\nfrom ..data import collage, other\nimport torch\n",
    "training/schedule": "from pipeline.training import loop  # a cycle ends\n",
    "models/__init__": "",
    "models/build": "",
    "data/__init__": LAZY,
    "data/mixing": "",
    "data/chips": "",
    "data/other": "",
    "reporting/__init__": "",
    "reporting/tables": "from .markdown import cell\n",
    "reporting/markdown": "",
}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "pipeline" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def modules(root, stage):
    found = Closure(root).of(f"pipeline.stages.{stage}")
    names = {
        path.removeprefix("pipeline/").removesuffix(".py")
        for path in (Closure(root).file(m).relative_to(root).as_posix() for m in found)
    }
    return {name for name in names if not name.endswith("__init__")}


@pytest.mark.parametrize(
    ("stage", "closure"),
    [
        ("train", {"training/loop", "training/schedule", "models/build", "data/mixing", "data/other"}),
        ("table", {"reporting/tables", "reporting/markdown"}),
        ("chips", {"data/chips"}),
        ("unknown", {"data/chips", "data/mixing", "data/other"}),
        ("whole", {"data/chips", "data/mixing", "data/other"}),
        ("dynamic", {"files"}),
        ("typing", set()),
    ],
)
def test_closure(root, stage, closure):
    """Modules that decide no number, such as paths, are left out."""
    assert modules(root, stage) == closure | {f"stages/{stage}"}


def test_packages_above_a_module_belong_to_its_closure(root):
    assert "pipeline.training" in Closure(root).of("pipeline.stages.train")
    assert "pipeline.reporting" not in Closure(root).of("pipeline.stages.train")


def test_what_a_specification_selects_is_added_and_without_one_everything(root):
    (root / "pipeline/layers").mkdir()
    (root / "pipeline/layers/__init__.py").write_text("")
    (root / "pipeline/layers/psconv.py").write_text("from pipeline.data import other\n")
    (root / "pipeline/models/build.py").write_text("from pipeline.parts import load\n")
    plain = Closure(root).of("pipeline.stages.train", [])
    assert Closure(root).of("pipeline.stages.train", ["pipeline.layers.psconv"]) - plain == {
        "pipeline.layers",
        "pipeline.layers.psconv",
    }
    assert "pipeline.layers.psconv" in Closure(root).of("pipeline.stages.train")  # of those, all that exist
    assert "pipeline.layers.psconv" not in Closure(root).of("pipeline.stages.table")


DVC = """
stages:
  report:
    cmd: python -m pipeline.stages.table
    deps: [data/code/mini/table.txt, data/code/mini/figures/headline.txt]
    outs: [a]
  train:
    cmd: python -m pipeline.stages.train dst_frcnn_r50_fpn_1x
    deps: [data/code/mini/train/dst_frcnn_r50_fpn_1x.txt, data/code/full/train/x.txt]
    outs: [b]
"""


@pytest.fixture
def project(root, monkeypatch):
    """Return the made-up package with the real declarations and three stages."""
    shutil.copytree(paths.ROOT / "workflow", root / "workflow", ignore=shutil.ignore_patterns("dvc.*"))
    (root / "params.yaml").write_text("preset: mini\n")
    (root / "dvc.yaml").write_text(DVC)
    (root / "pipeline/stages/figures.py").write_text("from pipeline.reporting.modules import load\n")
    (root / "pipeline/reporting/figures").mkdir()
    (root / "pipeline/reporting/figures/__init__.py").write_text("")
    (root / "pipeline/reporting/figures/headline.py").write_text("from pipeline.data import other\n")
    monkeypatch.setattr(paths, "ROOT", root)
    return root


def test_each_stages_digest_is_written_where_it_changed_and_removed_with_its_stage(project):
    every = ["mini/figures/headline", "mini/table", "mini/train/dst_frcnn_r50_fpn_1x"]
    old = project / "data/code/train.txt"
    old.parent.mkdir(parents=True)
    old.write_text("of an earlier layout")
    assert sorted(write(project)) == [*every, "train"]
    assert not old.exists()
    assert write(project) == []
    table = project / "data/code/mini/table.txt"
    before = table.stat().st_mtime_ns
    (project / "pipeline/training/schedule.py").write_text("EDIT = 1\n")
    assert write(project) == ["mini/train/dst_frcnn_r50_fpn_1x"]
    (project / "pipeline/data/other.py").write_text("EDIT = 1\n")
    assert sorted(write(project)) == ["mini/figures/headline", "mini/train/dst_frcnn_r50_fpn_1x"]
    assert table.stat().st_mtime_ns == before
    (project / "dvc.yaml").write_text(DVC.replace(", data/code/mini/figures/headline.txt", ""))
    assert write(project) == ["mini/figures/headline"]
    assert not (project / "data/code/mini/figures/headline.txt").exists()


def test_a_digest_has_settings_and_code(project):
    write(project)
    settings, code = split((project / "data/code/mini/train/dst_frcnn_r50_fpn_1x.txt").read_text())
    lines = dict(line.split(": ", 1) for line in settings.splitlines())
    assert lines["name"] == '"dst_frcnn_r50_fpn_1x"'
    assert (lines["preset.training.steps"], lines["recipe.iterations"]) == ("580", "90000")
    assert [line.split("  ")[1] for line in code.splitlines()][-1] == "pipeline/training/schedule.py"
    assert all(len(line.split("  ")[0]) == 64 for line in code.splitlines())
    settings, _ = split((project / "data/code/mini/table.txt").read_text())
    assert 'preset.title: "mini (ScaleWorld, CPU)"' in settings


def test_what_was_seen_current_is_not_made_again_until_any_byte_changes(project, monkeypatch):
    write(project)
    assert stale(project) == []  # and remembered
    made = []
    monkeypatch.setattr(code_digest, "current", lambda root, real=code_digest.current: made.append(1) or real(root))
    assert stale(project) == []
    assert made == []
    module = project / "pipeline/reporting/markdown.py"
    module.write_text("EDIT = 1\n")
    assert stale(project) == stale(project) == ["mini/table"]  # what is stale is never remembered
    module.write_text("")
    assert stale(project) == []
    digest = project / "data/code/mini/table.txt"
    digest.write_text("other\n")
    assert stale(project) == ["mini/table"]
    digest.unlink()
    assert stale(project) == ["mini/table"]
    write(project)
    preset = project / "workflow/presets/mini.yaml"
    preset.write_text(preset.read_text().replace("steps: 580", "steps: 581", 1))
    assert "mini/train/dst_frcnn_r50_fpn_1x" in stale(project)


def test_comments_docstrings_and_empty_lines_change_no_digest():
    plain = 'def f(x):\n    y = """a\n\n  # b """\n    return y + x  \nclass C: "doc"; z = 1\n'
    noted = (
        '"""Module é."""\n# why\n\ndef f(x):  # so\n    """Doc.\n\n    More # here.\n    """\n\n'
        '    y = """a\n\n  # b """\n    return y + x\nclass C: "other"; z = 1\n'
    )

    def code(text):
        return code_only(text, ast.parse(text))

    assert code(noted) == code(plain)
    assert code(plain) == 'def f(x):\n    y = """a\n\n  # b """\n    return y + x\nclass C: ; z = 1'
    for old, new in (("a\n\n", "a\n"), ("# b ", "# b"), ("z = 1", "z = 2"), ("# b", "# c")):
        assert code(plain.replace(old, new)) != code(plain)


def test_broken_code_and_unknown_stages_are_said_in_one_sentence(project):
    (project / "dvc.yaml").write_text(DVC.replace("mini/table", "mini/tabel"))
    with pytest.raises(InputError, match="Stage 'tabel' has no module"):
        write(project)
    (project / "dvc.yaml").write_text(DVC)
    (project / "pipeline/training/schedule.py").write_text("def broken(:\n")
    with pytest.raises(InputError, match=r"pipeline/training/schedule.py, line 1 is not valid Python"):
        write(project)


def test_report_code_is_in_no_closure_of_training_or_prediction():
    closure = Closure(paths.ROOT)
    for stage in ("train", "predict", "pretrain", "learn_scales", "decompose"):
        found = closure.of(f"pipeline.stages.{stage}")
        assert not [module for module in found if module.startswith(("pipeline.reporting", "pipeline.graph"))]
    assert "pipeline.training.loop" in closure.of("pipeline.stages.train")
    assert not [m for m in closure.of("pipeline.stages.evaluate", []) if m.startswith("pipeline.training")]


# What only modules that decide no number import: options become a specification, and names of stages digests.
BEHIND = {
    *("pipeline.spec", "pipeline.files", "pipeline.graph", "pipeline.graph.declared"),
    *("pipeline.reporting", "pipeline.reporting.modules"),
    *(
        "pipeline.published",
        *(f"pipeline.published.{name}" for name in ("headline", "papers", "rows")),
    ),  # how many blocks
}
IMPORT_ALL = """
import ast, importlib, sys
importlib.import_module(sys.argv[1])
done = set()
while todo := [n for n in sorted(sys.modules) if n.split(".")[0] == "pipeline" and n not in done]:
    for name in todo:
        done.add(name)
        tree = ast.parse(open(sys.modules[name].__file__).read())
        tree.body = [n for n in tree.body if "TYPE_CHECKING" not in ast.unparse(n)]
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and "pipeline" in ast.unparse(node):
                exec(ast.unparse(node), {"__package__": sys.modules[name].__package__})
print(*sorted(done))
"""


STAGES = sorted(p.stem for p in (paths.ROOT / "pipeline/stages").glob("[a-z]*.py"))
QUICK = ("train", "evaluate", "page")  # the others take five seconds each


@pytest.mark.parametrize("stage", [s if s in QUICK else pytest.param(s, marks=pytest.mark.slow) for s in STAGES])
def test_the_closure_is_what_python_imports(stage):
    """All imports are executed, those inside functions too; what then is loaded must be the closure."""
    command = [sys.executable, "-c", IMPORT_ALL, f"pipeline.stages.{stage}"]
    done = subprocess.run(command, cwd=paths.ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    closure = Closure(paths.ROOT).of(f"pipeline.stages.{stage}", [])
    assert closure <= loaded
    assert loaded - closure - UNDIGESTED <= BEHIND, stage
