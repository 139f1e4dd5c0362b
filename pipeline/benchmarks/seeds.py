"""Run-to-run noise: train a baseline several times with other seeds and write the spread of its AP.

`python -m pipeline.benchmarks.seeds --preset mini --seeds 3` trains in its own folder and touches no run of the graph.
It updates `data/noise.json`, which every verdict reads, and `reports/<preset>/seeds.md`, which shows the runs.
`--groups` adds groups of baselines; earlier measurements are kept. `l1` is the recipe with L1 losses (MSFM),
`c4` detectors on C4 features (POD), `dense` detectors without proposals (RetinaNet, FCOS, RepPoints), `proposals`
proposal networks, whose metric is recall (SNIP, table 3), `masks` Mask R-CNN (DST, table 9), and `voc` PASCAL VOC's
recipe and metric (DST, table 10). In `pretraining`, every backbone is pre-trained with its own seed; PSConv's gains are
judged by it. `--groups pretraining --methods psconv_frcnn_r50_fpn_1x_psconv` trains a method as often as its group's
baseline; the page and the method's tables then show the gain between the means. An interrupted benchmark continues: a
finished run is used again while its code, options and inputs are the same.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from pipeline import config, paths
from pipeline.benchmarks.pages.seeds import page
from pipeline.benchmarks.seed_groups import BASELINES, METRICS, USUAL
from pipeline.benchmarks.seed_runs import finish, finished, run_signature
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.files import found_json, read_json, write_json, write_text
from pipeline.preset import Preset
from pipeline.published.columns import name_of
from pipeline.spec import Spec
from pipeline.verdicts.results import PRETRAINING, Results, preset_digest


def main(options: argparse.Namespace) -> None:
    if options.seeds < 2:
        raise InputError(f"--seeds is {options.seeds}, but a spread needs at least 2 runs; 3 or more are better.")
    preset = config.load_preset(options.preset)
    groups, methods = options.groups.split(","), [name for name in options.methods.split(",") if name]
    check_groups(preset, groups)
    for method in methods:
        check_method(preset, groups, method)
    missing = [group for group in groups if not methods or group not in measured_before(preset)[1]["groups"]]
    kinds = [(group, BASELINES[group]) for group in missing] + [(groups[0], method) for method in methods]
    jobs = [(*kind, seed) for kind in kinds for seed in range(1, options.seeds + 1)]
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(lambda job: one_run(preset.name, *job), jobs))
    noise, entry = measured_before(preset)
    for group, experiment in kinds:
        runs = [metrics for job, metrics in zip(jobs, found, strict=True) if job[:2] == (group, experiment)]
        measured = spread(experiment, METRICS[group], runs)
        if experiment in methods:
            entry.setdefault("methods", {})[experiment] = {"group": group, **measured}
        else:
            entry["groups"][group] = measured
    noise[preset.name] = entry
    write_json(paths.NOISE, dict(sorted(noise.items())))
    write_text(Path("reports") / preset.name / "seeds.md", page(Results(preset.name)))


def measured_before(preset: Preset) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the content of `data/noise.json` and the preset's part of it, which is empty if its options changed."""
    noise, digest = found_json(paths.NOISE) or {}, preset_digest(preset)
    entry = noise.get(preset.name, {})
    return noise, entry if entry.get("preset_digest") == digest else {"preset_digest": digest, "groups": {}}


def check_groups(preset: Preset, groups: Sequence[str]) -> None:
    """Raise InputError for a group that does not exist or that this preset cannot measure."""
    for group in groups:
        if group not in BASELINES:
            raise InputError(f"--groups names {group!r}, but the groups are {sorted(BASELINES)}.")
    if PRETRAINING in groups and preset.init_source != "pretrain":
        raise InputError(
            f"--groups names {PRETRAINING}, but preset {preset.name} has init_source: {preset.init_source}, so that no "
            "backbone is pre-trained here; leave that group out."
        )


def check_method(preset: Preset, groups: Sequence[str], method: str) -> None:
    """Raise InputError for a method that differs from the group's baseline in more than the method."""
    if len(groups) != 1:
        raise InputError(
            f"--methods needs one group, whose baseline it compares with, but --groups names {len(groups)}."
        )
    baseline = BASELINES[groups[0]]
    ours, base = (config.resolve(name, preset.name).experiment for name in (method, baseline))
    same = ("detector", "backbone", "neck", "dataset", "recipe", *(() if groups[0] == PRETRAINING else ("init",)))
    for key in same:
        values = getattr(ours, key), getattr(base, key)
        if values[0] != values[1]:
            raise InputError(
                f"--methods names {method}, whose {key} is {values[0]}, but {baseline}, the baseline of group "
                f"{groups[0]}, has {values[1]}; name the group of its own baseline."
            )


def one_run(preset: str, group: str, experiment: str, seed: int) -> dict[str, Any]:
    """Train, predict and score one experiment with one seed in `data/scratch/seeds`, and return its metrics."""
    name = group if experiment == BASELINES[group] else f"{group}_{experiment}"
    folder = Path("data/scratch/seeds") / preset / f"{name}_{seed}"
    given = config.resolve(experiment, preset).experiment.proposals
    shared = ("data/code", "data/interim", "data/raw")  # checkpoints belong to this version of the code
    kept = shared if group == PRETRAINING else (*shared, "data/init")
    for shown in (*kept, *([paths.run(preset, given).as_posix()] if given else [])):
        link = folder / shown
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(Path(shown).resolve(), target_is_directory=True)
    signature = run_signature(specs_of(group, experiment, preset, seed))
    written = folder / paths.metrics(preset, experiment)
    metrics = finished(folder, signature, written)
    how = " (of an earlier run)" if metrics else ""
    if metrics is None:
        train_and_score(folder, preset, group, experiment, seed)
        metrics = read_json(written)
        finish(folder, signature)
    shown = ", ".join(f"{name_of(name)} {metrics[name]:.3f}" for name in METRICS[group][:2])
    print(f"{experiment} seed {seed}: {shown}{how}", flush=True)
    return metrics


def train_and_score(folder: Path, preset: str, group: str, experiment: str, seed: int) -> None:
    """Do one run in its own process and folder; raise InputError with the log's path where it fails."""
    log = folder / "log.txt"
    code = f"from pipeline.benchmarks.seeds import work; work({group!r}, {experiment!r}, {preset!r}, {seed})"
    link_images(folder, config.load_preset(preset))
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    with log.open("w") as stream:
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, stdout=stream, stderr=stream, env=environment)
    if done.returncode:
        raise InputError(f"The run of seed {seed} failed; its log is {log}.")


def link_images(folder: Path, preset: Preset) -> None:
    """Link own images, whose relative paths start at the project's root, into a run's folder."""
    for source in (preset.data.train, preset.data.val):
        for name in (source.images, source.voc):
            if not name or Path(name).is_absolute():
                continue
            link = Path(os.path.normpath(folder.resolve() / name))
            if link.exists():
                continue
            link.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # a parallel run was faster
                link.symlink_to(Path(name).resolve(), target_is_directory=True)


def work(group: str, experiment: str, preset: str, seed: int) -> None:
    """Train, predict and score in the current folder, in its own process."""
    from pipeline.evaluation.scoring import score
    from pipeline.prediction.detector import predict
    from pipeline.training.classification.pretraining import pretrain
    from pipeline.training.detection import train_detector

    specs = specs_of(group, experiment, preset, seed)
    for spec in specs[:-1]:
        pretrain(spec)
    train_detector(specs[-1])
    predict(specs[-1], "single")
    score(specs[-1], "single")


def specs_of(group: str, experiment: str, preset: str, seed: int) -> list[Spec]:
    """Return what one run trains with its seed: the detector, and in `PRETRAINING` its backbone before it."""
    names = [experiment]
    if group == PRETRAINING:
        names = [config.resolve(experiment, preset).experiment.init, experiment]
    found = [config.resolve(name, preset) for name in names]
    return [msgspec.structs.replace(spec, preset=msgspec.structs.replace(spec.preset, seed=seed)) for spec in found]


def spread(experiment: str, metrics: Sequence[str], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the values and the sample standard deviation of metrics over runs."""
    values = {name: [entry[name] for entry in runs] for name in metrics}
    known = {name: [value for value in row if value is not None] for name, row in values.items()}
    return {
        "experiment": experiment,
        "seeds": len(runs),
        "dof": len(runs) - 1,
        "sd": {name: round(statistics.stdev(row), 6) if len(row) > 1 else None for name, row in known.items()},
        "values": values,
    }


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=3, help="runs of each baseline")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--methods", default="", help="experiments trained as often beside the group's baseline")
    parser.add_argument("--groups", default=",".join(USUAL), help=f"which baselines: {', '.join(BASELINES)}")


if __name__ == "__main__":
    run(main, __doc__, extend=options)
