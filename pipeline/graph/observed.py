"""What tables, pages and figures depend on, seen rather than said: each is made from invented results and watched.

`python -m pipeline.graph.observed` runs in a folder that holds the graph alone; `observe` makes one and starts it.
"""

import contextlib
import io
import json
import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.errors import InputError
from pipeline.files import read_json, read_yaml, write_text
from pipeline.graph import declared
from pipeline.graph.declared import Stage
from pipeline.graph.invented import write_results
from pipeline.reporting.modules import NAMED

STAGES = Path("workflow/stages.yaml")
BENCHMARKS = Path("reports/benchmarks")
PRESET = "mini"  # of the invented results; what stages depend on is the same under all presets
SCRIPTS = ("table", *NAMED)
MINE = ("workflow/", "data/", "reports/", "params.yaml")
SHOWN, LINKED = re.compile(r"!\[[^]]*\]\(([^)#\s]+)"), re.compile(r"\]\(([^)#\s]+)")

opened: list[str] = []


def observe(texts: Mapping[Path, str]) -> dict[str, list[str]]:
    """Return what tables, pages and figures depend on, by the address of each stage, from the texts of the graph."""
    with tempfile.TemporaryDirectory(prefix="observed-") as folder:
        for path, text in (texts | {paths.PARAMS: f"preset: {PRESET}\n"}).items():
            write_text(Path(folder) / path, text)
        (Path(folder) / "reports").mkdir()
        (Path(folder) / BENCHMARKS).symlink_to(paths.ROOT / BENCHMARKS)
        command = [sys.executable, "-W", "ignore", "-m", "pipeline.graph.observed"]
        environment = os.environ | {"PYTHONPATH": str(paths.ROOT)}
        done = subprocess.run(command, cwd=folder, env=environment, text=True, stderr=subprocess.PIPE)
        if done.returncode:
            raise InputError(f"No graph is written, for a table, page or figure cannot be made:\n{done.stderr}")
        return read_json(Path(folder) / "observed.json")


def main() -> None:
    known = declared.stages(Path.cwd())
    write_results(PRESET, known)
    made = sorted((stage for stage in known.values() if stage.script in SCRIPTS), key=lambda s: s.script != "table")
    sys.addaudithook(listen)
    is_file = Path.is_file
    Path.is_file = lambda path: (listen("open", [path]), is_file(path))[1]
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:  # each with caches of its own
        read = pool.map(reads, made, chunksize=1)
    kinds = read_yaml(paths.ROOT / STAGES)["root"]
    makers = {out: stage for stage in known.values() for out in stage.outs}
    result = {}
    for place, (stage, names) in enumerate(zip(made, read, strict=True)):
        found = {n for n in names if n in makers or (paths.ROOT / n).is_file()}
        for target in links(stage, LINKED if kinds.get(stage.address, {}).get("linked") else SHOWN):
            out = next((out for out in (target, str(Path(target).parent)) if out in makers), None)
            if out and makers[out] not in made[place:] and not found.intersection(makers[out].outs):
                found.add(out)
        key = stage.command.split()[3] if stage.script in NAMED else ""
        digest = paths.code_digest("${preset}", stage.script, key).as_posix()
        result[stage.address] = [digest, *sorted(name.replace(f"/{PRESET}", "/${preset}") for name in found)]
    write_text("observed.json", json.dumps(result))


def listen(event: str, arguments: Any) -> None:
    """Note the file that is opened or looked for."""
    if event == "open" and isinstance(arguments[0], (str, Path)):
        opened.append(str(arguments[0]))


def reads(stage: Stage) -> set[str]:
    """Run a stage's script; return the project's files that it opened or looked for, but what it writes itself."""
    opened.clear()
    sys.argv = stage.command.split()[2:]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            runpy.run_module(sys.argv[0], run_name="__main__")
    except SystemExit as end:  # it has said why
        raise InputError(
            f"`{stage.command}` ended with {end.code} on invented results; correct what it names."
        ) from end
    names = {name.removeprefix(f"{paths.ROOT}/").removeprefix(f"{Path.cwd()}/") for name in opened}
    return {n for n in names if n.startswith(MINE) and "/." not in n and not n.startswith(stage.outs)}


def links(stage: Stage, pattern: re.Pattern[str]) -> list[str]:
    """Return what the pages that a stage wrote show, or show and link, as paths of the project, in order."""
    files = [file for out in map(Path, stage.outs) for file in (sorted(out.glob("*")) if out.is_dir() else [out])]
    pages = [(page.parent, page.read_text(encoding="utf-8")) for page in files if page.suffix == ".md"]
    return [os.path.normpath(folder / target) for folder, text in pages for target in pattern.findall(text)]


if __name__ == "__main__":
    main()
