"""Every path of the project, relative to its root, as used by stages, workflow and tests. Imports nothing heavy."""

from __future__ import annotations

import string
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAPERS = ("pod", "dst", "msfm", "snip", "psconv")
COMBINATIONS = "combo"  # first word of experiments that join methods of several papers
PARAMS = Path("params.yaml")
DEFAULTS = Path("workflow/schemas/defaults.yaml")  # of options, as they were first written
DIFFERENCES = Path("docs/differences.md")  # of recipes and experiments from their papers


class Place:
    """A path with named gaps; calling it fills them in their order, and a wrong number of words is an error."""

    def __init__(self, template: str) -> None:
        self.template = template
        self.gaps = [gap for _, gap, _, _ in string.Formatter().parse(template) if gap]

    def __call__(self, *words: str) -> Path:
        return Path(self.template.format(**dict(zip(self.gaps, words, strict=True))))


# Declarations
preset_file = Place("workflow/presets/{preset}.yaml")
recipe_file = Place("workflow/schedules/{recipe}.yaml")
published_file = Place("data/published/{paper}.yaml")
# What stands behind a paper's printed rows where the tables do not say it, and the quickstart's rows.
table_rows = Place("workflow/papers/{paper}/tables/rows.yaml")

# Data
fetched = Place("data/fetched/{preset}.json")  # which archives of which data sets the data were unpacked from
raw = Place("data/raw/{preset}")
# Which files of a set of labelled images cannot be decoded; kept so that they are read through only once.
decoded = Place("data/interim/decoded/{digest}.json")

# Trainings and what they leave, not in git
init = Place("data/init/{preset}/{name}.safetensors")
run = Place("data/runs/{preset}/{experiment}")
weights = Place("data/runs/{preset}/{experiment}/weights.safetensors")
# Proposals of a region proposal network on the images of a split, for the experiments that classify them.
proposals = Place("data/runs/{preset}/{experiment}/proposals_{split}.safetensors")
onnx = Place("data/runs/{preset}/{experiment}/backbone.onnx")  # a network, or a detector's backbone and neck
scratch = Place("data/scratch/{experiment}-{digest}")  # resumable checkpoints of one training, no output of any stage
# Every step of the last training, one JSON object a line with its timing; no output of any stage. TensorBoard's event
# files lie in a folder of the same name without the suffix.
training_log = Place("data/logs/{preset}/{experiment}.jsonl")

# Results, in git
history = Place("reports/{preset}/history/{experiment}.csv")  # a row for each logged window of optimiser steps
metrics = Place("reports/{preset}/metrics/{evaluation}.json")
ranges = Place("reports/{preset}/metrics/{evaluation}_ranges.json")  # valid ranges that a pyramid's test found
# Replicates of an evaluation's AP under resampled images, paired between evaluations by their draws.
bootstrap = Place("reports/{preset}/bootstrap/{evaluation}.json")
# What a training did: steps, last losses, share of collages, valid objects per resolution, ...
training_summary = Place("reports/{preset}/metrics/{experiment}_training.json")
scales = Place("reports/{preset}/metrics/{experiment}_scales.json")  # learnt global scales: mean and spread over images
size = Place("reports/{preset}/metrics/{experiment}_size.json")  # parameters, multiply-adds and latency of a network
# What an ONNX file holds, and how far ONNX Runtime's outputs are from PyTorch's.
export = Place("reports/{preset}/metrics/{experiment}_export.json")
# Effective dilations of a deformable network: mean and spread over positions and images.
offsets = Place("reports/{preset}/metrics/{experiment}_offsets.json")
# Share of each dilation rate in the weights of a PSConv network, by layer.
weight_share = Place("reports/{preset}/metrics/{experiment}_weight_share.json")
# Share of the regression loss that small objects carried in a training, and the threshold it proposes for DST.
loss_share = Place("reports/{preset}/metrics/{experiment}_loss_share.json")
receptive_field = Place("reports/{preset}/metrics/receptive_field.json")  # and density of connections of POD's networks
statistics = Place("reports/{preset}/metrics/statistics.json")
# Times of layers and networks on one machine: behind the speeds that PSConv prints in its text.
layer_benchmark = Place("reports/benchmarks/{device}_layers.json")

# Pages
report = Place("reports/{preset}/README.md")  # the way into a preset's report: forges show it with the folder
index = Place("reports/{preset}/index.md")
catalogue = Place("reports/{preset}/catalogue.md")  # all published tables under a preset
page = Place("reports/{preset}/papers/{paper}.md")
evidence = Place("reports/{preset}/evidence.md")  # power of the headline, and halves of its blocks against each other
methods = Place("reports/{preset}/methods.md")  # all methods and combinations: gains by object size, cost and latency
compared = Place("reports/{preset}/compare.md")  # which scale method helps on a user's data, at which object sizes
cards = Place("reports/{preset}/cards")  # folder of model cards, one a trained experiment that the report rests on
# Parameters and multiply-adds of the papers' networks: counted, worked out and printed.
identities = Place("reports/{preset}/identities.md")
figure = Place("reports/{preset}/figures/{name}.png")
gallery = Place("reports/{preset}/gallery")  # folder of detections drawn on images; in git for ScaleWorld only


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


def code_digest(preset: str, script: str, key: str = "") -> Path:
    """What a stage depends on besides its files: settings and code. The key is what the stage's command names."""
    folder = Path("data/code") / preset
    return folder / script / f"{key}.txt" if key else folder / f"{script}.txt"


def manifest(preset: str, dataset: str = "coco") -> Path:
    """The verified data of a preset; PASCAL VOC's, on which some experiments stand, has a folder of its own."""
    folder = Path("data/interim") / preset
    return (folder / "voc" if dataset == "voc" else folder) / "manifest.json"


def evaluation_name(experiment: str, test: str = "single") -> str:
    """Return the name of an evaluation: its experiment's, with the test behind it where it is not the default."""
    return experiment if test == "single" else f"{experiment}__{test}"


def per_class_name(evaluation: str) -> str:
    """Return under which name among metrics and replicates an evaluation's numbers by class stand."""
    return f"{evaluation}_per_class"


def split_evaluation(name: str) -> tuple[str, str]:
    """Inverse of `evaluation_name`."""
    experiment, _, test = name.partition("__")
    return experiment, test or "single"


def detections(preset: str, evaluation: str) -> Path:
    experiment, test = split_evaluation(evaluation)
    return run(preset, experiment) / f"detections_{test}.json"


def table(preset: str, name: str, suffix: str = "md") -> Path:
    return Path("reports") / preset / "tables" / f"{name}.{suffix}"


def headline(preset: str, name: str, suffix: str = "md") -> Path:
    """A published table with the few rows that the quickstart trains; `table` has them all."""
    return Path("reports") / preset / "headline" / f"{name}.{suffix}"


def claims(preset: str, paper: str = "") -> Path:
    """Every claim of the papers, judged; one paper's where `paper` is given. Its data lie beside it as a CSV."""
    folder = Path("reports") / preset
    return folder / "claims" / f"{paper}.md" if paper else folder / "claims.md"


def archives() -> Path:
    """Folder of downloads, in part or whole."""
    return Path("data/archives")


def plan(preset: str, suffix: str = "md") -> Path:
    """What every table costs, worked out beforehand; the graph has the plan of preset `full`."""
    return Path("reports") / preset / f"plan.{suffix}"


def data_page(preset: str, dataset: str = "coco") -> Path:
    """What verification counted, and everything it left out and why."""
    return Path("reports") / preset / ("data_voc.md" if dataset == "voc" else "data.md")
