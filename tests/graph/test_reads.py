"""A stage of the report reads only what it declares: else DVC would call a page with old numbers up to date."""

import functools
import gc
import importlib
import io
import json
import runpy
import sys
from pathlib import Path

import pytest

from pipeline import paths
from pipeline.benchmarks.invented import write_results
from pipeline.graph import declared

SCRIPTS = (
    "table",
    "figures",
    "dst_figures",
    "page",
    "index",
    "compare",
    "claims",
    "methods",
    "cards",
    "paper_figures",
    "catalogue",
    "report",
)
KNOWN = declared.stages()
REPORT = [s for s in KNOWN.values() if s.command.split()[2].rpartition(".")[2] in SCRIPTS]
PRESET = KNOWN["quickstart"].command.split()[-1]
opened: list[str] | None = None


def listen(event, arguments):
    if opened is not None and event == "open" and isinstance(arguments[0], (str, Path)):
        opened.append(str(arguments[0]))


@pytest.fixture(scope="module")
def reads(tmp_path_factory):
    """For every stage of the report: the project's files that it opened, or looked for and would have opened."""
    global opened
    folder = tmp_path_factory.mktemp("reads")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    is_file = Path.is_file
    patch.setattr(
        Path, "is_file", lambda path: (listen("open", [path if "reports" in path.parts else b""]), is_file(path))[1]
    )
    write_results(PRESET, KNOWN)
    sys.addaudithook(listen)
    result = {}
    for stage in sorted(REPORT, key=lambda s: SCRIPTS.index(s.command.split()[2].rpartition(".")[2])):
        for cached in [o for o in gc.get_objects() if issubclass(type(o), functools._lru_cache_wrapper)]:
            if (cached.__module__ or "").startswith("pipeline"):
                cached.cache_clear()
        words = stage.command.split()[2:]
        importlib.import_module(words[0])
        patch.setattr(sys, "argv", words)
        patch.setattr(sys, "stdout", io.StringIO())
        opened = []
        runpy.run_module(words[0], run_name="__main__")
        found, opened = opened, None
        names = {name.removeprefix(f"{paths.ROOT}/").removeprefix(f"{folder}/") for name in found}
        mine = ("workflow/", "data/", "reports/", "params.yaml")
        result[stage.address] = {n for n in names if n.startswith(mine) and "/." not in n} - set(stage.outs)
    patch.undo()
    return result


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("address", [s.address for s in REPORT])
def test_a_stage_reads_only_what_it_declares(address, reads):
    undeclared = reads[address] - set(KNOWN[address].deps)
    undeclared = {n for n in undeclared if not n.startswith("reports/benchmarks/") or (paths.ROOT / n).is_file()}
    assert not undeclared, json.dumps(sorted(undeclared), indent=1)
