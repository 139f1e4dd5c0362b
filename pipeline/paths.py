"""Every path of the project, relative to its root, as used by stages, workflow and tests. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAPERS = ("pod", "dst", "msfm", "snip", "psconv")
PARAMS = Path("params.yaml")
NOISE = Path("data/noise.json")  # run-to-run spread of baselines, measured by the `seeds` benchmark, in git


def paper_of(experiment: str) -> str:
    """Return the paper whose folder holds an experiment: the first word of its name; `shared` for inits of all."""
    word = experiment.split("_", 1)[0]
    return word if word in PAPERS else "shared"


def experiment_file(experiment: str) -> Path:
    paper = paper_of(experiment)
    folder = Path("workflow/inits") if paper == "shared" else Path("workflow/papers") / paper / "experiments"
    return folder / f"{experiment}.yaml"


def paper_index(paper: str) -> Path:
    return Path("workflow/papers") / paper / "experiments.yaml"


def table_rows(paper: str) -> Path:
    """The evaluations that each table of a paper waits for."""
    return Path("workflow/papers") / paper / "tables" / "rows.yaml"


def preset_file(preset: str) -> Path:
    return Path("workflow/presets") / f"{preset}.yaml"


def recipe_file(recipe: str) -> Path:
    return Path("workflow/schedules") / f"{recipe}.yaml"


def published_file(paper: str) -> Path:
    return Path("data/published") / f"{paper}.yaml"


def code_digest(stage: str) -> Path:
    return Path("data/code") / f"{stage}.txt"


def raw(preset: str) -> Path:
    return Path("data/raw") / preset


def manifest(preset: str) -> Path:
    return Path("data/interim") / preset / "manifest.json"


def init(preset: str, name: str) -> Path:
    return Path("data/init") / preset / f"{name}.safetensors"


def run(preset: str, experiment: str) -> Path:
    return Path("data/runs") / preset / experiment


def weights(preset: str, experiment: str) -> Path:
    return run(preset, experiment) / "weights.safetensors"


def history(preset: str, experiment: str) -> Path:
    """Training history: one row for each logged window of optimiser steps, in git."""
    return Path("reports") / preset / "history" / f"{experiment}.csv"


def training_summary(preset: str, experiment: str) -> Path:
    """What a training did: steps, last losses, share of collages, valid objects per resolution, ..."""
    return Path("reports") / preset / "metrics" / f"{experiment}_training.json"


def gallery(preset: str) -> Path:
    """Folder of detections drawn on images; in git for ScaleWorld only."""
    return Path("reports") / preset / "gallery"


def scales(preset: str, experiment: str) -> Path:
    """Learnt global scales of a GSL experiment: mean and spread over images."""
    return Path("reports") / preset / "metrics" / f"{experiment}_scales.json"


def evaluation_name(experiment: str, test: str = "single") -> str:
    """Return the name of an evaluation: its experiment's, with the test behind it where it is not the default."""
    return experiment if test == "single" else f"{experiment}__{test}"


def split_evaluation(name: str) -> tuple[str, str]:
    """Inverse of `evaluation_name`."""
    experiment, _, test = name.partition("__")
    return experiment, test or "single"


def detections(preset: str, evaluation: str) -> Path:
    experiment, test = split_evaluation(evaluation)
    return run(preset, experiment) / f"detections_{test}.json"


def proposals(preset: str, experiment: str, split: str) -> Path:
    """Proposals of a region proposal network on the images of a split, for the experiments that classify them."""
    return run(preset, experiment) / f"proposals_{split}.safetensors"


def metrics(preset: str, evaluation: str) -> Path:
    return Path("reports") / preset / "metrics" / f"{evaluation}.json"


def bootstrap(preset: str, evaluation: str) -> Path:
    """Replicates of an evaluation's AP under resampled images, paired between evaluations by their draws."""
    return Path("reports") / preset / "bootstrap" / f"{evaluation}.json"


def size(preset: str, experiment: str) -> Path:
    """Parameters, multiply-adds and latency of an experiment's network."""
    return Path("reports") / preset / "metrics" / f"{experiment}_size.json"


def onnx(preset: str, experiment: str) -> Path:
    """A trained network, or a detector's backbone and neck, for deployment."""
    return run(preset, experiment) / "backbone.onnx"


def export(preset: str, experiment: str) -> Path:
    """What an ONNX file holds, and how far ONNX Runtime's outputs are from PyTorch's."""
    return Path("reports") / preset / "metrics" / f"{experiment}_export.json"


def offsets(preset: str, experiment: str) -> Path:
    """Effective dilations of a deformable network: mean and spread over positions and images."""
    return Path("reports") / preset / "metrics" / f"{experiment}_offsets.json"


def weight_share(preset: str, experiment: str) -> Path:
    """Share of each dilation rate in the weights of a PSConv network, by layer."""
    return Path("reports") / preset / "metrics" / f"{experiment}_weight_share.json"


def receptive_field(preset: str) -> Path:
    """Receptive field and density of connections of POD's networks, as numbers."""
    return Path("reports") / preset / "metrics" / "receptive_field.json"


def identities(preset: str) -> Path:
    """Parameters and multiply-adds of the papers' networks: counted, worked out and printed."""
    return Path("reports") / preset / "identities.md"


def table(preset: str, name: str, suffix: str = "md") -> Path:
    return Path("reports") / preset / "tables" / f"{name}.{suffix}"


def figure(preset: str, name: str) -> Path:
    return Path("reports") / preset / "figures" / f"{name}.png"


def page(preset: str, paper: str) -> Path:
    return Path("reports") / preset / "papers" / f"{paper}.md"


def index(preset: str) -> Path:
    return Path("reports") / preset / "index.md"


def decoded(digest: str) -> Path:
    """Which files of a set of labelled images cannot be decoded; kept so that they are read through only once."""
    return Path("data/interim/decoded") / f"{digest}.json"


def scratch(experiment: str, digest: str) -> Path:
    """Resumable checkpoints of one training; ignored by git and no output of any stage."""
    return Path("data/scratch") / f"{experiment}-{digest}"


def data_page(preset: str) -> Path:
    """What verification counted, and everything it left out and why."""
    return Path("reports") / preset / "data.md"


def statistics(preset: str) -> Path:
    return Path("reports") / preset / "metrics" / "statistics.json"
