"""Run-to-run noise: train a baseline several times with other seeds and write the spread of its AP.

`python -m pipeline.benchmarks.seeds --preset mini --seeds 3` trains in a folder of its own and touches no run of the
graph. It updates `data/noise.json`, which every verdict reads, and `reports/<preset>/seeds.md`, which shows the runs.
`--groups l1,c4,dense,proposals,masks,voc,pretraining` adds recipes with L1 losses (POD, MSFM, PSConv), detectors on C4
features (POD), those without proposals (RetinaNet, FCOS, RepPoints), the networks of proposals, whose metric is recall
(SNIP, table 3), the masks of Mask R-CNN (DST, table 9), PASCAL VOC's recipe and metric (DST, table 10), and detectors
whose backbones were each pre-trained with a seed of their own, which PSConv's gains are judged by; what was measured
before is kept. Interrupted, it goes on: a run that ended is used again while code, options and inputs are the same.
"""

from __future__ import annotations

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
from pipeline.benchmarks.seed_runs import finish, finished, run_signature
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.files import read_json, write_json, write_text
from pipeline.preset import Preset
from pipeline.reporting.columns import MASK, RECALLS, name_of
from pipeline.reporting.results import PRETRAINING, preset_digest

BASELINES = {  # by group; which group judges what says `fitting_groups`
    "fpn": "dst_frcnn_r50_fpn_1x",
    "l1": "msfm_frcnn_r50_fpn_1x",
    "none": "snip_drfcn_r50_7ep_single_scale",
    "c4": "pod_frcnn_r50_c4_1x",
    "dense": "msfm_retinanet_r50_fpn_1x",
    "proposals": "snip_rpn_r50_6ep_ms_train_conv4_5anchor",
    "masks": "dst_mask_rcnn_r50_fpn_1x",
    "voc": "dst_voc_frcnn_r50_fpn_24k",
    PRETRAINING: "psconv_frcnn_r50_fpn_1x",
}
USUAL = ("fpn", "none")  # what a report of detectors needs
PRECISIONS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
METRICS = {
    "fpn": PRECISIONS,
    "l1": PRECISIONS,
    "none": PRECISIONS,
    "c4": PRECISIONS,
    "dense": PRECISIONS,
    "proposals": RECALLS,
    "masks": tuple(f"{MASK}{name}" for name in PRECISIONS),
    "voc": ("map", *PRECISIONS),
    PRETRAINING: PRECISIONS,
}


def main(options: argparse.Namespace) -> None:
    if options.seeds < 2:
        raise InputError(f"--seeds is {options.seeds}, but a spread needs at least 2 runs; 3 or more are better.")
    preset = config.load_preset(options.preset)
    jobs = [(group, seed) for group in options.groups.split(",") for seed in range(1, options.seeds + 1)]
    for group, _ in jobs:
        if group not in BASELINES:
            raise InputError(f"--groups names {group!r}, but the groups are {sorted(BASELINES)}.")
    if PRETRAINING in options.groups.split(",") and preset.init_source != "pretrain":
        raise InputError(
            f"--groups names {PRETRAINING}, but preset {preset.name} has init_source: {preset.init_source}, so that no "
            "backbone is pre-trained here; leave that group out."
        )
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(lambda job: one_run(preset.name, *job), jobs))
    groups = {}
    for group in dict.fromkeys(group for group, _ in jobs):
        runs = [metrics for (name, _), metrics in zip(jobs, found, strict=True) if name == group]
        groups[group] = spread(BASELINES[group], METRICS[group], runs)
    noise = read_json(paths.NOISE) if paths.NOISE.is_file() else {}
    digest = preset_digest(preset)
    if noise.get(preset.name, {}).get("preset_digest") == digest:  # other groups were measured under these very options
        groups = noise[preset.name]["groups"] | groups
    noise[preset.name] = {"preset_digest": digest, "groups": groups}
    write_json(paths.NOISE, dict(sorted(noise.items())))
    write_text(Path("reports") / preset.name / "seeds.md", page(preset, groups))


def one_run(preset: str, group: str, seed: int) -> dict[str, Any]:
    """Train, predict and score one baseline with one seed in `data/scratch/seeds`, and return its metrics."""
    folder = Path("data/scratch/seeds") / preset / f"{group}_{seed}"
    given = config.resolve(BASELINES[group], preset).experiment.proposals
    shared = ("data/code", "data/interim", "data/raw")  # checkpoints are those of this very code
    kept = shared if group == PRETRAINING else (*shared, "data/init")
    for name in (*kept, *([paths.run(preset, given).as_posix()] if given else [])):
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(Path(name).resolve(), target_is_directory=True)
    signature, written = run_signature(specs_of(group, preset, seed)), folder / paths.metrics(preset, BASELINES[group])
    metrics = finished(folder, signature, written)
    how = " (of an earlier run)" if metrics else ""
    if metrics is None:
        train_and_score(folder, preset, group, seed)
        metrics = read_json(written)
        finish(folder, signature)
    shown = ", ".join(f"{name_of(name)} {metrics[name]:.3f}" for name in METRICS[group][:2])
    print(f"{BASELINES[group]} seed {seed}: {shown}{how}", flush=True)
    return metrics


def train_and_score(folder: Path, preset: str, group: str, seed: int) -> None:
    """Let a process of its own do one run in a folder. Raises InputError with the log's place where it fails."""
    log = folder / "log.txt"
    code = f"from pipeline.benchmarks.seeds import work; work({group!r}, {preset!r}, {seed})"
    link_images(folder, config.load_preset(preset))
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    with log.open("w") as stream:
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, stdout=stream, stderr=stream, env=environment)
    if done.returncode:
        raise InputError(f"The run of seed {seed} failed; its log is {log}.")


def link_images(folder: Path, preset: Preset) -> None:
    """Let relative paths of own images, which are meant from the project's root, lead to them from a run's folder."""
    for source in (preset.data.train, preset.data.val):
        for name in (source.images, source.voc):
            if not name or Path(name).is_absolute():
                continue
            link = Path(os.path.normpath(folder.resolve() / name))
            if link.exists():
                continue
            link.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # another run, side by side, was faster
                link.symlink_to(Path(name).resolve(), target_is_directory=True)


def work(group: str, preset: str, seed: int) -> None:
    """Train, predict and score in the current folder; runs in a process of its own."""
    from pipeline.evaluation.scoring import score
    from pipeline.training.classification import pretrain
    from pipeline.training.detection import train_detector
    from pipeline.training.prediction import predict

    specs = specs_of(group, preset, seed)
    for spec in specs[:-1]:
        pretrain(spec)
    train_detector(specs[-1])
    predict(specs[-1], "single")
    score(specs[-1], "single")


def specs_of(group: str, preset: str, seed: int) -> list[config.Spec]:
    """Return what one run trains, in order and with its seed: the detector, before it its backbone in `PRETRAINING`."""
    name = BASELINES[group]
    names = [config.resolve(name, preset).experiment.init, name] if group == PRETRAINING else [name]
    found = [config.resolve(name, preset) for name in names]
    return [msgspec.structs.replace(spec, preset=msgspec.structs.replace(spec.preset, seed=seed)) for spec in found]


def spread(experiment: str, metrics: Sequence[str], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return values and sample standard deviation of metrics over runs."""
    values = {name: [entry[name] for entry in runs] for name in metrics}
    known = {name: [value for value in row if value is not None] for name, row in values.items()}
    return {
        "experiment": experiment,
        "seeds": len(runs),
        "dof": len(runs) - 1,
        "sd": {name: round(statistics.stdev(row), 6) if len(row) > 1 else None for name, row in known.items()},
        "values": values,
    }


def page(preset: Preset, groups: dict[str, Any]) -> str:
    """Return the Markdown page of the runs."""
    lines = [
        f"# Run-to-run noise under preset `{preset.name}`",
        "",
        f"Preset: {preset.title}. One baseline of each kind was trained several times; only the seed differs, "
        f"that of its backbone's pre-training too in the group `{PRETRAINING}`. The standard deviations "
        "below are what verdicts allow for beside the images' own sampling noise.",
        "",
    ]
    for group, entry in groups.items():
        metrics = METRICS[group]
        median = statistics.median(entry["values"][metrics[1]])
        lines += [
            f"## {group}: `{entry['experiment']}`",
            "",
            f"Median {name_of(metrics[1])} of {entry['seeds']} seeds: **{100 * median:.1f}** %.",
            "",
            "| run | " + " | ".join(metrics) + " |",
            "| --- |" + " ---: |" * len(metrics),
        ]
        for number in range(entry["seeds"]):
            cells = [percent(entry["values"][name][number]) for name in metrics]
            lines.append(f"| seed {number + 1} | " + " | ".join(cells) + " |")
        lines.append("| sd | " + " | ".join(percent(entry["sd"][name]) for name in metrics) + " |")
        lines.append("")
    lines.append(f"Made by `python -m pipeline.benchmarks.seeds --preset {preset.name} --seeds N`.")
    return "\n".join(lines) + "\n"


def percent(value: float | None) -> str:
    """Return a fraction as percent with one decimal, n/a where it does not exist."""
    return "n/a" if value is None else f"{100 * value:.1f}"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=3, help="runs of each baseline")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--groups", default=",".join(USUAL), help=f"which baselines: {', '.join(BASELINES)}")


if __name__ == "__main__":
    run(main, __doc__, extend=options)
