"""Every path of the project, relative to its root, as used by stages, workflow and tests. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAPERS = ("pod", "dst", "msfm", "snip", "psconv")
COMBINATIONS = "combo"  # first word of experiments that join methods of several papers
PARAMS = Path("params.yaml")
DEFAULTS = Path("workflow/schemas/defaults.yaml")  # of options, as they were first written
DIFFERENCES = Path("docs/differences.md")  # of recipes and experiments from their papers
NOISE = Path("data/noise.json")  # run-to-run spread of baselines, measured by the `seeds` benchmark, in git


def paper_of(experiment: str) -> str:
    """Return the paper whose folder holds an experiment: the first word of its name.

    `combo` for combinations of papers' methods, `shared` for inits of all.
    """
    word = experiment.split("_", 1)[0]
    return word if word in (*PAPERS, COMBINATIONS) else "shared"


def experiment_file(experiment: str) -> Path:
    return experiments_folder(paper_of(experiment)) / f"{experiment}.yaml"


def experiments_folder(paper: str) -> Path:
    """Folder of a paper's experiment files, of those of combinations, or of the inits of all (`shared`)."""
    apart = {"shared": Path("workflow/inits"), COMBINATIONS: Path("workflow/combinations/experiments")}
    return apart.get(paper, Path("workflow/papers") / paper / "experiments")


def table_rows(paper: str) -> Path:
    """What stands behind a paper's printed rows where the tables do not say it, and the quickstart's rows."""
    return Path("workflow/papers") / paper / "tables" / "rows.yaml"


def preset_file(preset: str) -> Path:
    return Path("workflow/presets") / f"{preset}.yaml"


def recipe_file(recipe: str) -> Path:
    return Path("workflow/schedules") / f"{recipe}.yaml"


def published_file(paper: str) -> Path:
    return Path("data/published") / f"{paper}.yaml"


def code_digest(preset: str, script: str, key: str = "") -> Path:
    """What a stage depends on besides its files: settings and code. The key is what the stage's command names."""
    folder = Path("data/code") / preset
    return folder / script / f"{key}.txt" if key else folder / f"{script}.txt"


def raw(preset: str) -> Path:
    return Path("data/raw") / preset


def manifest(preset: str, dataset: str = "coco") -> Path:
    """The verified data of a preset; PASCAL VOC's, on which some experiments stand, has a folder of its own."""
    folder = Path("data/interim") / preset
    return (folder / "voc" if dataset == "voc" else folder) / "manifest.json"


def init(preset: str, name: str) -> Path:
    return Path("data/init") / preset / f"{name}.safetensors"


def run(preset: str, experiment: str) -> Path:
    return Path("data/runs") / preset / experiment


def weights(preset: str, experiment: str) -> Path:
    return run(preset, experiment) / "weights.safetensors"


def history(preset: str, experiment: str) -> Path:
    """Training history: one row for each logged window of optimiser steps, in git."""
    return Path("reports") / preset / "history" / f"{experiment}.csv"


def training_log(preset: str, experiment: str) -> Path:
    """Every step of the last training, one JSON object a line with its timing; not in git, no output of any stage.

    TensorBoard's event files lie in a folder of the same name without the suffix.
    """
    return Path("data/logs") / preset / f"{experiment}.jsonl"


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


def loss_share(preset: str, experiment: str) -> Path:
    """Share of the regression loss that small objects carried in a training, and the threshold it proposes for DST."""
    return Path("reports") / preset / "metrics" / f"{experiment}_loss_share.json"


def receptive_field(preset: str) -> Path:
    """Receptive field and density of connections of POD's networks, as numbers."""
    return Path("reports") / preset / "metrics" / "receptive_field.json"


def identities(preset: str) -> Path:
    """Parameters and multiply-adds of the papers' networks: counted, worked out and printed."""
    return Path("reports") / preset / "identities.md"


def table(preset: str, name: str, suffix: str = "md") -> Path:
    return Path("reports") / preset / "tables" / f"{name}.{suffix}"


def headline(preset: str, name: str, suffix: str = "md") -> Path:
    """A published table with the few rows that the quickstart trains; `table` has them all."""
    return Path("reports") / preset / "headline" / f"{name}.{suffix}"


def catalogue(preset: str) -> Path:
    """The list of all published tables under a preset."""
    return Path("reports") / preset / "catalogue.md"


def report(preset: str) -> Path:
    """The way into a preset's report: forges show it with the folder."""
    return Path("reports") / preset / "README.md"


def layer_benchmark(device: str) -> Path:
    """Times of layers and networks on one machine, in git: behind the speeds that PSConv prints in its text."""
    return Path("reports/benchmarks") / f"{device}_layers.json"


def figure(preset: str, name: str) -> Path:
    return Path("reports") / preset / "figures" / f"{name}.png"


def page(preset: str, paper: str) -> Path:
    return Path("reports") / preset / "papers" / f"{paper}.md"


def claims(preset: str, paper: str = "") -> Path:
    """Every claim of the papers, judged; one paper's where `paper` is given. Its data lie beside it as a CSV."""
    folder = Path("reports") / preset
    return folder / "claims" / f"{paper}.md" if paper else folder / "claims.md"


def methods(preset: str) -> Path:
    """All methods and their combinations side by side: gains by object size, cost and latency."""
    return Path("reports") / preset / "methods.md"


def compared(preset: str) -> Path:
    """Which scale method helps on a user's data, at which object sizes, and what could have been seen."""
    return Path("reports") / preset / "compare.md"


def cards(preset: str) -> Path:
    """Folder of model cards, one a trained experiment that the report rests on."""
    return Path("reports") / preset / "cards"


def index(preset: str) -> Path:
    return Path("reports") / preset / "index.md"


def decoded(digest: str) -> Path:
    """Which files of a set of labelled images cannot be decoded; kept so that they are read through only once."""
    return Path("data/interim/decoded") / f"{digest}.json"


def scratch(experiment: str, digest: str) -> Path:
    """Resumable checkpoints of one training; ignored by git and no output of any stage."""
    return Path("data/scratch") / f"{experiment}-{digest}"


def archives() -> Path:
    """Folder of downloads, in part or whole."""
    return Path("data/archives")


def fetched(preset: str) -> Path:
    """Which archives of which data sets a preset's data were unpacked from."""
    return Path("data/fetched") / f"{preset}.json"


def plan(preset: str, suffix: str = "md") -> Path:
    """What every table costs, worked out beforehand."""
    return Path("reports") / preset / f"plan.{suffix}"


def data_page(preset: str, dataset: str = "coco") -> Path:
    """What verification counted, and everything it left out and why."""
    return Path("reports") / preset / ("data_voc.md" if dataset == "voc" else "data.md")


def statistics(preset: str) -> Path:
    return Path("reports") / preset / "metrics" / "statistics.json"
