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
from pipeline.files import write_json, write_text
from pipeline.graph import declared

METRICS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
SCRIPTS = ("table", "figures", "page", "index", "catalogue")
KNOWN = declared.stages()
REPORT = [s for s in KNOWN.values() if s.command.split()[2].rpartition(".")[2] in SCRIPTS]
PRESET = KNOWN["quickstart"].command.split()[-1]
opened: list[str] | None = None


def listen(event, arguments):
    if opened is not None and event == "open" and isinstance(arguments[0], (str, Path)):
        opened.append(str(arguments[0]))


def fill() -> None:
    """Write believable results of every experiment and evaluation below the working folder."""
    for stage in KNOWN.values():
        name = stage.address.rpartition("@")[2]
        if ":evaluate@" in stage.address:
            write_json(paths.metrics(PRESET, name), {"experiment": name, "images": 300, **dict.fromkeys(METRICS, 0.3)})
            write_json(paths.bootstrap(PRESET, name), {"draws": 2, **{key: [0.3, 0.4] for key in METRICS}})
        elif "train@" in stage.address:
            shares = {"collage_share": 0.4, "valid_objects": {"1400": 0.5, "800": 0.75, "480": 0.25}}
            write_json(paths.training_summary(PRESET, name), {"experiment": name, "steps": 300, **shares})
            write_text(paths.history(PRESET, name), "step,loss,small_share,collage\n5,1.5,0.2,0.5\n10,1.2,0.1,\n")
        elif ":measure@" in stage.address:
            write_json(
                paths.size(PRESET, name), {"parameters_total": 9, "macs": 9, "scales": None, "input": [240, 400]}
            )
        elif stage.address.startswith("learn_scales@"):
            layers = {
                f"layer{n}.{b}": {"mean_h": 1.2, "mean_w": 1.0, "std_h": 0.1, "std_w": 0.1}
                for n in (2, 3, 4)
                for b in (0, 1)
            }
            write_json(
                paths.scales(PRESET, name), {"experiment": name, "images": 9, "layers": layers, "largest_shift": 0.2}
            )
    write_json(paths.metrics(PRESET, "statistics"), {"splits": {}, "comparison": []})
    write_json(paths.NOISE, {})


@pytest.fixture(scope="module")
def reads(tmp_path_factory):
    """For every stage of the report: the project's files that it opened, or looked for and would have opened."""
    global opened
    if not all((paths.ROOT / "pipeline/stages" / f"{script}.py").is_file() for script in SCRIPTS):
        pytest.skip("a stage of the report is not written yet")
    folder = tmp_path_factory.mktemp("reads")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    is_file = Path.is_file
    patch.setattr(
        Path, "is_file", lambda path: (listen("open", [path if "reports" in path.parts else b""]), is_file(path))[1]
    )
    fill()
    sys.addaudithook(listen)
    result = {}
    for stage in sorted(REPORT, key=lambda s: SCRIPTS.index(s.command.split()[2].rpartition(".")[2])):
        for cached in [o for o in gc.get_objects() if isinstance(o, functools._lru_cache_wrapper)]:
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
    assert not undeclared, json.dumps(sorted(undeclared), indent=1)
