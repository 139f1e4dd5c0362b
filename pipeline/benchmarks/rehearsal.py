"""Run every experiment of the papers through all its stages, at a size at which this takes seconds.

`python -m pipeline.benchmarks.rehearsal` runs the stages of dvc.yaml under the preset `rehearsal` (a few steps on tiny
scenes) in data/scratch/rehearsal, in one forked process per experiment, and writes reports/benchmarks/rehearsal.json
and .md. Results with the same code are kept, so the same command continues. `--limit 20` runs 20, `--names` some.
"""

import argparse
import hashlib
import importlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline import config, paths
from pipeline.benchmarks.command import run_command
from pipeline.benchmarks.pages.rehearsal import rehearsal_page
from pipeline.closure import Closure
from pipeline.errors import InputError
from pipeline.files import found_json, read_json, read_yaml, sha256, write_json, write_text
from pipeline.graph import declared
from pipeline.graph.stage_runner import in_child, run_stage
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


def planned() -> dict[str, list[declared.Stage]]:
    """Return the stages of every experiment and init; stages and experiments come after those that they need."""
    own: dict[str, list[declared.Stage]] = {}
    for stage in declared.in_order(declared.stages()):
        if stage.script in KINDS:
            own.setdefault(experiment(stage), []).append(stage)
    return {whole.address: own[whole.address] for whole in declared.in_order(joined(own))}


def joined(plan: dict[str, list[declared.Stage]]) -> dict[str, declared.Stage]:
    """Return every experiment as one stage, with all that its stages need and write."""
    result = {}
    for name, own in plan.items():
        deps, outs = (tuple(chain(*files)) for files in zip(*((stage.deps, stage.outs) for stage in own), strict=True))
        result[name] = declared.Stage(name, "", deps, outs)
    return result


def chosen(names: Iterable[str] | None, plan: dict[str, list[declared.Stage]]) -> list[str]:
    """Return the experiments to run (default: all), prerequisites first; raise InputError for an unknown name."""
    known = joined(plan)
    for name in names or ():
        if name not in plan:
            raise InputError(f"Unknown experiment {name!r}; `dvc stage list --all` shows what is trained.")
    wanted = declared.ancestors(names or plan, known)
    return [name for name in plan if name in wanted]


def experiment(stage: declared.Stage) -> str:
    """Return the experiment or init that a stage belongs to, or an empty text."""
    words = stage.command.split()
    return paths.split_evaluation(words[3])[0] if len(words) > 3 and not words[3].startswith("--") else ""


def code_digest() -> str:
    """Return the hash of everything that a rehearsal runs: code, preset, experiments and recipes."""
    folders = ("papers", "inits", "combinations", "schedules")
    texts = [paths.ROOT / paths.preset_file(PRESET)]
    texts += sorted(file for folder in folders for file in (paths.ROOT / "workflow" / folder).rglob("*.yaml"))
    inside = [file for file in texts if file.name not in ("dvc.yaml", "rows.yaml")]
    lines = [f"{sha256(file)} {file.relative_to(paths.ROOT)}\n" for file in inside]
    code = Closure(paths.ROOT).digest(*(f"pipeline.stages.{name}" for name in (*KINDS, *DATA)))
    return hashlib.sha256("".join([code, *lines]).encode()).hexdigest()


def kept(rows: Path, name: str, code: str) -> dict[str, Any] | None:
    """Return the row of an experiment that has already run with the same code, or None."""
    row = found_json(rows / f"{name}.json")
    return row if row and row["code"] == code and not row["failure"] else None


def rehearse_data(folder: Path, code: str) -> None:
    """Render and check the scenes, unless this was done with the same code."""
    mark = folder / "data.json"
    if mark.is_file() and read_json(mark)["code"] == code:
        return
    stages = [stage for stage in declared.stages().values() if stage.script in DATA]
    failure = in_child(lambda: run_stages(stages, folder), 240.0, os.devnull)
    if failure:
        raise InputError(f"The scenes could not be made: {failure}")
    write_json(mark, {"code": code})


def rehearse(name: str, own: list[declared.Stage], folder: Path, seconds: float) -> dict[str, Any]:
    """Run all stages of one experiment in its own process, and return the outcome."""
    begin = time.perf_counter()
    failure = in_child(lambda: run_stages(own, folder), seconds, os.devnull)
    row = {"name": name, "stages": [stage.name for stage in own], "failure": failure}
    row["seconds"] = round(time.perf_counter() - begin, 2)
    found = outcome(name, own, folder)
    if not row["failure"]:
        wrong = [loss for loss in found["losses"] if loss is None or not math.isfinite(loss)]
        row["failure"] = f"a loss is not finite: {wrong[0]}" if wrong else None
    return row | found


def run_stages(stages: Iterable[declared.Stage], folder: Path) -> None:
    """Run stages' scripts as their commands would, under this preset, in `folder`."""
    os.chdir(folder)
    for stage in stages:
        run_stage(re.sub(r"--preset \S+", f"--preset {PRESET}", stage.command))


def outcome(name: str, own: list[declared.Stage], folder: Path) -> dict[str, Any]:
    """Return the losses, detections and first metrics of each test that an experiment's stages left in `folder`."""
    summary = found_json(folder / paths.training_summary(PRESET, name)) or {}
    losses = [summary[key] for key in ("loss_first", "loss_last") if key in summary]
    tests = {}
    for stage in own:
        if stage.script == "evaluate":
            evaluation = stage.command.split()[3]
            metrics = found_json(folder / paths.metrics(PRESET, evaluation)) or {}
            first = next((key for key in ("ap", "ar") if key in metrics), None)
            tests[paths.split_evaluation(evaluation)[1]] = {
                "images": metrics.get("images"),
                "detections": metrics.get("detections"),
                "metric": first,
                "value": metrics.get(first),
            }
    size = found_json(folder / paths.size(PRESET, name)) or {}
    return {
        "losses": losses,
        "steps": summary.get("steps"),
        "top1_error": summary.get("top1_error"),
        "tests": tests,
        "parameters": size.get("parameters_total"),
    }


def report(rows: Path, code: str) -> dict[str, Any]:
    """Return the result: the papers' experiments, then inits and further experiments, each sorted by name."""
    from pipeline.benchmarks.timing.machine import describe

    papers = read_yaml(paths.ROOT / CATALOGUE)
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
