"""One experiment of each paper at the papers' size, by its stage commands: trained, killed, resumed, evaluated.

`python -m pipeline.benchmarks.full_size` works in a copy of the project under data/scratch, with the preset
`full_subset` (real photographs, enlarged), and writes reports/benchmarks/full_size.json and .md. `--steps 200` is for a
GPU. It shows that a run at full size works; a detector learns nothing in so few steps.
"""

import argparse
import csv
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from pipeline import config, files, paths
from pipeline.benchmarks.pages.full_size import full_size_page
from pipeline.benchmarks.timing.machine import describe
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.spec import coco_epochs
from pipeline.training.checkpoint import Checkpoints

PRESET = "full_subset"
EXPERIMENTS = (
    "pod_frcnn_r50_fpn_1x_gsl",
    "dst_frcnn_r50_fpn_1x_dst",
    "msfm_frcnn_r50_fpn_1x_msfm",
    "snip_rpn_r50_6ep_snip_conv45_7anchor",
    "psconv_frcnn_r50_fpn_1x_psconv",
)
COPIED = ("pipeline", "workflow", "data/published", "params.yaml")
OUTPUT = Path("reports/benchmarks/full_size.json")
POLL = 0.05  # seconds between looks at a training's folder


def main(options: argparse.Namespace) -> None:
    """Run the requested experiments; write the JSON after each and the page at the end."""
    names = options.experiments.split(",") if options.experiments else list(EXPERIMENTS)
    unknown = sorted(set(names) - set(config.experiments()))
    if unknown:
        raise InputError(f"--experiments names {unknown[0]!r}, which workflow/papers does not have; correct it.")
    project = prepare(options.steps)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    result: dict[str, Any] = {"preset": PRESET, "machine": describe(device), "device": device, "rows": []}
    stage(project, "verify")
    for name in names:
        result["rows"].append(exercise(project, name))
        files.write_json(OUTPUT, result)
        print(f"{name}: {result['rows'][-1]}", file=sys.stderr, flush=True)
    files.write_text(OUTPUT.with_suffix(".md"), full_size_page(result))


def prepare(steps: int | None) -> Path:
    """Return a copy of the project whose preset trains for `steps` steps; earlier results in it are kept."""
    project = Path("data/scratch/full_size/project")
    for name in COPIED:
        source, target = paths.ROOT / name, project / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    shared, beside = project.parent / "shared", (paths.ROOT / ".." / "shared").resolve()
    if beside.is_dir() and not shared.exists():
        # The preset names its photographs as lying beside the project. A link that led nowhere is laid anew.
        shared.unlink(missing_ok=True)
        shared.symlink_to(beside, target_is_directory=True)
    if steps is not None:
        if steps < 2:
            raise InputError(f"--steps is {steps}, but a training that is killed half-way needs at least 2.")
        preset = project / paths.preset_file(PRESET)
        settings = files.read_yaml(preset)
        settings["training"]["steps"] = steps
        files.write_json(preset, settings)  # JSON is YAML
    return project


def exercise(project: Path, name: str) -> dict[str, Any]:
    """Train, kill, resume, predict and evaluate one experiment; return what was measured."""
    spec = config.resolve(name, PRESET)
    init = spec.experiment.init
    if not (project / paths.init(PRESET, init)).is_file():
        stage(project, "pretrain", init)
    shutil.rmtree(project / paths.run(PRESET, name), ignore_errors=True)
    for left in (project / "data/scratch").glob(f"{name}-*"):
        shutil.rmtree(left)
    killed = killed_training(project, name)
    begin = time.perf_counter()
    stage(project, "train", name)
    resumed = time.perf_counter() - begin
    summary = files.read_json(project / paths.training_summary(PRESET, name))
    with (project / paths.history(PRESET, name)).open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    seconds = {"killed_training": killed["seconds"], "resumed_training": resumed}
    for step in ("predict", "evaluate"):
        begin = time.perf_counter()
        stage(project, step, name)
        seconds[step] = time.perf_counter() - begin
    metrics = files.read_json(project / paths.metrics(PRESET, name))
    return {
        "experiment": name,
        "paper": spec.paper,
        "input": [spec.recipe.short_side, spec.recipe.long_side],
        "batch": spec.batch,
        "steps": summary["steps"],
        "images_seen": summary["images_seen"],
        "killed_after": killed["step"],
        "logged_steps": len(rows),
        "loss_first": summary["loss_first"],
        "loss_last": summary["loss_last"],
        "collage_share": summary["collage_share"],
        "valid_objects": summary["valid_objects"],
        "precision": summary["precision"],
        "detections": len(files.read_json(project / paths.detections(PRESET, name))),
        "ap": metrics.get("ap"),
        "seconds": {key: round(value, 1) for key, value in seconds.items()},
        # The maximum over all stages so far: the system tells no more about processes that have ended.
        "peak_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
    }


def killed_training(project: Path, name: str) -> dict[str, Any]:
    """Start a training, kill it (SIGKILL) when half its steps are in a checkpoint, and return that step."""
    spec = config.resolve(name, PRESET)
    preset = config.load(project / paths.preset_file(PRESET), type(spec.preset))
    steps = max(1, round(preset.training.steps * spec.experiment.length * coco_epochs(spec.recipe) / 12))
    begin = time.perf_counter()
    process = subprocess.Popen(command("train", name), cwd=project, env=environment(project), start_new_session=True)
    step = 0
    while process.poll() is None and step < max(1, steps // 2):
        time.sleep(POLL)
        step = reached(project, name)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.returncode != -signal.SIGKILL:
        code = process.returncode
        raise InputError(f"The training of {name} ended with code {code} before it could be killed; see above.")
    return {"step": reached(project, name), "seconds": time.perf_counter() - begin}


def reached(project: Path, name: str) -> int:
    """Return the step of a training's newest checkpoint, 0 without one."""
    for folder in (project / "data/scratch").glob(f"{name}-*"):
        state = Checkpoints(folder).load()
        return 0 if state is None else state["step"]
    return 0


def stage(project: Path, step: str, *names: str) -> None:
    """Run one stage as a user would; raise InputError where it fails."""
    done = subprocess.run(command(step, *names), cwd=project, env=environment(project))
    if done.returncode:
        raise InputError(f"Stage {' '.join((step, *names))} ended with {done.returncode}; its message is above.")


def command(step: str, *names: str) -> list[str]:
    return [sys.executable, "-m", f"pipeline.stages.{step}", *names, "--preset", PRESET]


def environment(project: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(project.resolve())}


def extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, help="optimiser steps of 12 epochs (default: the preset's)")
    parser.add_argument("--experiments", help="names with commas between them (default: one of each paper)")


if __name__ == "__main__":
    run(main, __doc__, extend=extend)
