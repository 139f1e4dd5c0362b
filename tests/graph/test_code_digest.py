"""Import closures: every way of importing, on a small made-up package, and the real stages against a real import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import paths
from pipeline.code_digest import Closure, code_only, digest, stages, stale, write
from pipeline.errors import InputError

LAZY = """
from importlib import import_module
_HOME = {"collage": "mixing", "Chips": (".chips", "Chips"), "other": "pipeline.data.other"}
def __getattr__(name):
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
"""
FILES = {
    "__init__": "",
    "paths": "",
    "stages/__init__": "",
    "stages/train": "from pipeline.training import loop\ndef main():\n    import pipeline.models.build\n",
    "stages/table": "from pipeline.reporting.tables import write\nfrom pipeline import paths\n",
    "stages/chips": "from pipeline.data import Chips\n",
    "stages/unknown": "from pipeline.data import computed\n",
    "stages/whole": "import pipeline.data as data\n",
    "stages/dynamic": "import importlib\nimportlib.import_module('pipeline.paths')\n",
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
    lines = digest(stage, root).splitlines()
    found = [line.split("  ")[1].removeprefix("pipeline/").removesuffix(".py") for line in lines]
    assert found == sorted(found)
    return {name for name in found if not name.endswith("__init__")}


@pytest.mark.parametrize(
    ("stage", "closure"),
    [
        ("train", {"training/loop", "training/schedule", "models/build", "data/mixing", "data/other"}),
        ("table", {"reporting/tables", "reporting/markdown", "paths"}),
        ("chips", {"data/chips"}),
        ("unknown", {"data/chips", "data/mixing", "data/other"}),
        ("whole", {"data/chips", "data/mixing", "data/other"}),
        ("dynamic", {"paths"}),
        ("typing", set()),
    ],
)
def test_closure(root, stage, closure):
    assert modules(root, stage) == closure | {f"stages/{stage}"}


def test_packages_above_a_module_belong_to_its_closure(root):
    assert "pipeline/training/__init__.py" in digest("train", root)
    assert "pipeline/reporting/__init__.py" not in digest("train", root)


def test_only_changed_digests_are_written(root):
    assert write(root) == stages(root)
    assert write(root) == []
    before = (root / "data/code/train.txt").stat().st_mtime_ns
    (root / "pipeline/reporting/markdown.py").write_text("EDIT = 1  # of report code\n")
    assert write(root) == ["table"]
    assert (root / "data/code/train.txt").stat().st_mtime_ns == before
    (root / "pipeline/training/schedule.py").write_text("EDIT = 1  # of training code\n")
    assert write(root) == ["train"]


def test_code_that_was_seen_current_is_not_parsed_again_until_any_byte_changes(root, monkeypatch):
    write(root)
    assert stale(root) == []  # and remembered
    parsed = []
    monkeypatch.setattr(
        "pipeline.code_digest.digest", lambda stage, *given: parsed.append(stage) or digest(stage, root)
    )
    assert stale(root) == []
    assert parsed == []
    module, text = root / "pipeline/reporting/markdown.py", (root / "pipeline/reporting/markdown.py").read_text()
    module.write_text("EDIT = 1\n")
    assert stale(root) == ["table"]
    assert stale(root) == ["table"]  # what is stale is never remembered
    module.write_text(text)
    assert stale(root) == []
    (root / "data/code/train.txt").write_text("other\n")
    assert stale(root) == ["train"]
    (root / "data/code/train.txt").unlink()
    assert stale(root) == ["train"]
    write(root)
    (root / "pipeline/stages/new.py").write_text("")
    assert stale(root) == ["new"]


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


def test_broken_code_and_unknown_stages_are_said_in_one_sentence(root):
    (root / "pipeline/reporting/markdown.py").write_text("def broken(:\n")
    with pytest.raises(InputError, match=r"pipeline/reporting/markdown.py, line 1 is not valid Python"):
        digest("table", root)
    with pytest.raises(InputError, match="Stage 'tabel' has no module"):
        digest("tabel", root)


def test_report_code_is_in_no_closure_of_training_or_prediction():
    for stage in ("train", "predict", "pretrain", "learn_scales", "decompose"):
        assert "pipeline/reporting/" not in digest(stage)
        assert "pipeline/graph/" not in digest(stage)
    assert "pipeline/training/loop.py" in digest("train")
    assert "pipeline/training/" not in digest("evaluate")


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


@pytest.mark.parametrize("stage", stages())
def test_the_closure_is_what_python_imports(stage):
    """All imports are executed, those inside functions too; what then is loaded must be the closure."""
    command = [sys.executable, "-c", IMPORT_ALL, f"pipeline.stages.{stage}"]
    done = subprocess.run(command, cwd=paths.ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert Closure(paths.ROOT).of(f"pipeline.stages.{stage}") == loaded
    assert isinstance(ast.parse(Path(paths.ROOT / "pipeline/stages" / f"{stage}.py").read_text()), ast.Module)
