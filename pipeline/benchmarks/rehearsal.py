"""Run every experiment of the papers through all its stages, at a size at which this takes seconds.

`python -m pipeline.benchmarks.rehearsal` runs the stages of dvc.yaml under the preset `rehearsal` (a few steps on tiny
scenes) in data/scratch/rehearsal, in one forked process per experiment, and writes reports/benchmarks/rehearsal.json
and .md. Results with the same code are kept, so the same command continues. `--limit 20` runs 20, `--names` some.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import multiprocessing
import os
import runpy
import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from pipeline import config, paths
from pipeline.benchmarks.command import run_command
from pipeline.benchmarks.pages.rehearsal import rehearsal_page
from pipeline.code_digest import Closure, stages
from pipeline.errors import InputError
from pipeline.files import read_json, read_yaml, write_json, write_text
from pipeline.graph import declared
from pipeline.reporting.catalogue import CATALOGUE

PRESET = "rehearsal"
KINDS = ("pretrain", "train", "propose", "learn_scales", "decompose", "predict", "evaluate", "measure")
DATA = ("synthesize", "verify")
FOLDER, SCRATCH = Path("reports/benchmarks"), Path("data/scratch/rehearsal")


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Rehearse what is left and write both reports; raise InputError for an unknown experiment."""
    folder = (options.scratch or paths.ROOT / SCRATCH).resolve()
    output = options.output or paths.ROOT / FOLDER
    plan = planned()
    names = chosen(options.names, plan)
    code = code_digest()
    rows = folder / "rows"
    rows.mkdir(parents=True, exist_ok=True)
    rehearse_data(folder, code)
    left = [name for name in names if kept(rows, name, code) is None]
    for number, name in enumerate(left[: options.limit], start=1):
        row = rehearse(name, plan[name], folder, options.seconds) | {"code": code}
        write_json(rows / f"{name}.json", row)
        print(f"[{number}/{len(left[: options.limit])}] {name}: {told(row)}", flush=True)
    result = report(rows, code)
    write_json(output / "rehearsal.json", result)
    write_text(output / "rehearsal.md", rehearsal_page(result))
    return result


def catalogue() -> dict[str, dict[str, Any]]:
    """Return the papers' experiments and their descriptions by name."""
    return read_yaml(paths.ROOT / CATALOGUE)


def planned() -> dict[str, list[declared.Stage]]:
    """Return the stages of every experiment and init; stages and experiments come after those that they need."""
    known = declared.stages()
    own: dict[str, list[declared.Stage]] = {}
    needs: dict[str, set[str]] = {}
    for address in ordered(known):
        stage = known[address]
        if module(stage) in KINDS:
            name = experiment(stage)
            own.setdefault(name, []).append(stage)
            others = {experiment(known[a]) for a in declared.ancestors(address, known) if module(known[a]) in KINDS}
            needs.setdefault(name, set()).update(others - {name})
    result: dict[str, list[declared.Stage]] = {}
    while len(result) < len(own):
        found = [name for name in own if name not in result and needs[name] <= result.keys()]
        if not found:
            raise InputError(f"Experiments need each other: {', '.join(sorted(own.keys() - result.keys()))}.")
        result |= {name: own[name] for name in found}
    return result


def ordered(known: dict[str, declared.Stage]) -> list[str]:
    """Return the addresses of all stages, each after the stages that it needs."""
    maker = {out: stage.address for stage in known.values() for out in stage.outs}
    done: dict[str, None] = {}

    def visit(address: str) -> None:
        if address not in done:
            for dep in known[address].deps:
                if dep in maker:
                    visit(maker[dep])
            done[address] = None

    for address in known:
        visit(address)
    return list(done)


def chosen(names: Iterable[str] | None, plan: dict[str, list[declared.Stage]]) -> list[str]:
    """Return the experiments to run (default: all), prerequisites first; raise InputError for an unknown name."""
    if not names:
        return list(plan)
    known = declared.stages()
    wanted: set[str] = set()
    for name in names:
        if name not in plan:
            raise InputError(f"Unknown experiment {name!r}; `dvc stage list --all` shows what is trained.")
        for stage in plan[name]:
            wanted |= {experiment(known[a]) for a in declared.ancestors(stage.address, known)}
    return [name for name in plan if name in wanted]


def module(stage: declared.Stage) -> str:
    """Return the name of a stage's script."""
    return stage.command.split()[2].rpartition(".")[2]


def experiment(stage: declared.Stage) -> str:
    """Return the experiment or init that a stage belongs to, or an empty text."""
    words = stage.command.split()
    return paths.split_evaluation(words[3])[0] if len(words) > 3 and not words[3].startswith("--") else ""


def code_digest() -> str:
    """Return the hash of everything that a rehearsal runs: code, preset, experiments and recipes."""
    closure = Closure(paths.ROOT)
    modules = {m for name in stages() if name in (*KINDS, *DATA) for m in closure.of(f"pipeline.stages.{name}")}
    lines = [f"{closure.sha256(name)} {name}\n" for name in sorted(modules)]
    folders = ("papers", "inits", "combinations", "schedules")
    texts = [paths.ROOT / paths.preset_file(PRESET)]
    texts += sorted(file for folder in folders for file in (paths.ROOT / "workflow" / folder).rglob("*.yaml"))
    inside = [file for file in texts if file.name not in ("dvc.yaml", "rows.yaml")]
    lines += [f"{hashlib.sha256(file.read_bytes()).hexdigest()} {file.relative_to(paths.ROOT)}\n" for file in inside]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def kept(rows: Path, name: str, code: str) -> dict[str, Any] | None:
    """Return the row of an experiment that has already run with the same code, or None."""
    path = rows / f"{name}.json"
    row = read_json(path) if path.is_file() else None
    return row if row and row["code"] == code and not row["failure"] else None


def rehearse_data(folder: Path, code: str) -> None:
    """Render and check the scenes, unless this was done with the same code."""
    mark = folder / "data.json"
    if mark.is_file() and read_json(mark)["code"] == code:
        return
    for stage in declared.stages().values():
        if module(stage) in DATA:
            said = in_child(lambda stage=stage: run_stage(stage, folder), 120.0)
            if said.get("failure"):
                raise InputError(f"The scenes could not be made: {said['failure']}")
    write_json(mark, {"code": code})


def rehearse(name: str, own: list[declared.Stage], folder: Path, seconds: float) -> dict[str, Any]:
    """Run all stages of one experiment in its own process, and return the outcome."""
    begin = time.perf_counter()
    said = in_child(lambda: [run_stage(stage, folder) for stage in own], seconds)
    row = {"name": name, "stages": [stage.address.rpartition(":")[2] for stage in own], "failure": said.get("failure")}
    row["seconds"] = round(time.perf_counter() - begin, 2)
    found = outcome(name, own, folder)
    if not row["failure"]:
        wrong = [loss for loss in found["losses"] if loss is None or not math.isfinite(loss)]
        row["failure"] = f"a loss is not finite: {wrong[0]}" if wrong else None
    return row | found


def run_stage(stage: declared.Stage, folder: Path) -> None:
    """Run one stage's script as its command would, under this preset, in `folder`."""
    words = stage.command.split()[2:]
    words[words.index("--preset") + 1] = PRESET
    os.chdir(folder)
    sys.argv = words
    try:
        runpy.run_module(words[0], run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"`{' '.join(words)}` ended with code {ended.code}") from ended


def in_child(work: Any, seconds: float) -> dict[str, Any]:
    """Run a function in a forked process; return {"failure": its last words} where it fails or takes too long."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, there))
    process.start()
    there.close()
    said = here.recv() if here.poll(seconds) else None
    if said is None:
        process.kill()
    process.join()
    return said if said is not None else {"failure": f"not done after {seconds:g} s"}


def _child(work: Any, pipe: Any) -> None:
    with open(os.devnull, "w", encoding="utf-8") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
        try:
            work()
            pipe.send({"failure": None})
        except BaseException as error:  # a stage may end in any way, and each is reported
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(last.filename).name}, line {last.lineno}"
            pipe.send({"failure": f"{type(error).__name__}: {error} ({place})"})


def outcome(name: str, own: list[declared.Stage], folder: Path) -> dict[str, Any]:
    """Return the losses, detections and first metrics of each test that an experiment's stages left in `folder`."""
    summary = _read(folder / paths.training_summary(PRESET, name)) or {}
    losses = [summary[key] for key in ("loss_first", "loss_last") if key in summary]
    tests = {}
    for stage in own:
        if module(stage) == "evaluate":
            evaluation = stage.command.split()[3]
            metrics = _read(folder / paths.metrics(PRESET, evaluation)) or {}
            first = next((key for key in ("ap", "ar") if key in metrics), None)
            tests[paths.split_evaluation(evaluation)[1]] = {
                "images": metrics.get("images"),
                "detections": metrics.get("detections"),
                "metric": first,
                "value": metrics.get(first),
            }
    size = _read(folder / paths.size(PRESET, name)) or {}
    return {
        "losses": losses,
        "steps": summary.get("steps"),
        "top1_error": summary.get("top1_error"),
        "tests": tests,
        "parameters": size.get("parameters_total"),
    }


def _read(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None


def report(rows: Path, code: str) -> dict[str, Any]:
    """Return the result: the papers' experiments, then inits and further experiments, each sorted by name."""
    from pipeline.benchmarks.timing.machine import describe

    papers = catalogue()
    found = {path.stem: read_json(path) for path in sorted(rows.glob("*.json"))}
    for name, row in found.items():
        row["of_the_papers"] = name in papers
        row["detector"] = config.resolve(name, PRESET).experiment.detector
    order = sorted(found, key=lambda name: (not found[name]["of_the_papers"], name))
    return {
        "preset": PRESET,
        "title": config.load_preset(PRESET).title,
        "code": code,
        "machine": describe("cpu"),
        "experiments": len(papers),
        "rows": [found[name] for name in order],
    }


def told(row: dict[str, Any]) -> str:
    """Return a row as one line of text."""
    if row["failure"]:
        return f"FAILED, {row['failure']}"
    tests = ", ".join(f"{test} {found['detections']} detections" for test, found in row["tests"].items())
    return f"{len(row['stages'])} stages in {row['seconds']:.1f} s{f', {tests}' if tests else ''}"


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--limit", type=int, help="experiments to run in this sitting (default: all that are left)")
    found.add_argument("--names", nargs="+", help="experiments to run, with whatever they need (default: all)")
    found.add_argument("--seconds", type=float, default=300.0, help="longest time of one experiment")
    found.add_argument("--scratch", type=Path, help=f"folder of the work (default: {SCRATCH})")
    found.add_argument("--output", type=Path, help=f"folder of the report (default: {FOLDER})")
    return found


def preload() -> None:
    """Import, once for all children, what stages import."""
    import torch

    for name in KINDS:
        for found in sorted(Closure(paths.ROOT).of(f"pipeline.stages.{name}")):
            importlib.import_module(found)
    torch.set_num_threads(1)


if __name__ == "__main__":
    preload()
    result = run_command(main, parser())
    print(json.dumps({"failed": [row["name"] for row in result["rows"] if row["failure"]]}))
    sys.exit(1 if any(row["failure"] for row in result["rows"]) else 0)
