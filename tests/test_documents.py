"""README and docs: short enough to be read, and every command that they name exists; links are in test_whole_report."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

from pipeline.paths import ROOT

README = (ROOT / "README.md").read_text("utf-8")
TEXTS = [README, *(page.read_text("utf-8") for page in sorted((ROOT / "docs").glob("*.md")))]


def test_readme_is_short():
    assert len(README.splitlines()) <= 120


def test_every_module_and_target_that_documents_name_exists():
    text = "\n".join(TEXTS)
    modules = set(re.findall(r"-m (pipeline(?:\.\w+)+)", text))
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M))
    assert len(modules) > 20
    assert {"quickstart", "test", "compare"} <= targets
    assert sorted(module for module in modules if find_spec(module) is None) == []
    rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert sorted(targets - set(rules)) == []


def test_readme_says_what_the_report_says():
    """Both as committed, where git knows: a build on another processor writes other numbers."""

    def text(path):
        shown = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, text=True)
        return (ROOT / path).read_text("utf-8") if shown.returncode else shown.stdout

    readme, report = text("README.md"), text("reports/mini/index.md")
    lines = readme.partition("<!-- results:start -->\n")[2].partition("<!-- results:end -->")[0].splitlines()
    assert lines
    assert [line for line in lines if line not in report.splitlines()] == []


@pytest.mark.slow
def test_the_seven_commands_run_one_experiment(tmp_path):
    commands = re.findall(r"^python (-m pipeline\.stages\..+? --preset) mini\b", README, re.M)
    assert len(commands) == 7
    for name in ("pipeline", "workflow", "data/published"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".snakemake"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for command in commands:
        subprocess.run([sys.executable, *command.split(), "rehearsal"], cwd=tmp_path, check=True)
    assert (tmp_path / "reports/rehearsal/metrics/dst_frcnn_r50_fpn_1x_dst.json").is_file()
    assert "dst_frcnn_r50_fpn_1x_dst.json" in (tmp_path / "reports/rehearsal/tables/dst_t2.md").read_text("utf-8")
