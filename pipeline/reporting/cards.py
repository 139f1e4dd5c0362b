"""Model cards: what each trained network is, what it can do, how it was made, and how to load it."""

from __future__ import annotations

import shutil
from functools import partial
from typing import Any

import numpy as np

from pipeline import config, paths
from pipeline import markdown as md
from pipeline.differences import differences
from pipeline.files import write_text
from pipeline.published.columns import METRICS, NAMES
from pipeline.published.papers import NAMES as PAPER_NAMES
from pipeline.published.row_names import DETECTORS
from pipeline.published.tables import load_published
from pipeline.reporting.context import DATA, HOW, TRAINED
from pipeline.verdicts.comparison import headline_experiments
from pipeline.verdicts.methods import COMBINATIONS, SINGLES
from pipeline.verdicts.results import Results, load_experiment, scale_source

UP = "../../.."
LICENCE = "Apache 2.0"
SHARE = (2.5, 97.5)  # percentiles of an interval over images


def carded() -> list[str]:
    """Return the experiments that have a card: those behind the headline's tables, and the combinations."""
    pairs = [*SINGLES, *(pair for pair, _ in COMBINATIONS)]
    return list(dict.fromkeys([*headline_experiments(), *(paths.split_evaluation(p.evaluation)[0] for p in pairs)]))


def write_cards(preset: str) -> None:
    """Write a card of every experiment that was trained, and README.md that lists them all, into a folder of theirs."""
    results, folder = Results(preset), paths.cards(preset)
    shutil.rmtree(folder, ignore_errors=True)
    trained = [name for name in carded() if results.training(name) is not None]
    for name in trained:
        write_text(folder / f"{name}.md", card(results, name))
    write_text(folder / "README.md", list_page(results, trained))


def list_page(results: Results, trained: list[str]) -> str:
    """Return the list of all cards."""
    text = f"# Model cards, preset {results.name}\n\nOne card a trained network: what it is, what it was trained on, "
    text += "what it reaches, what it costs, where it fails, and how to load it. [Back](../index.md).\n\n"

    def reached(name: str) -> str:
        metrics = results.metrics(paths.evaluation_name(name, next(iter(load_experiment(name).tests)))) or {}
        if name not in trained:
            return md.NOT_RUN
        return TRAINED if metrics.get("ap") is None else md.percent(metrics["ap"])

    columns = [
        md.Column("Network", lambda name: f"[{name}]({name}.md)" if name in trained else name),
        md.Column("Row", lambda name: load_experiment(name).notes.row),
        md.Column("AP", reached, "r"),
    ]
    return text + md.table(columns, carded())


def card(results: Results, name: str) -> str:
    """Return one card."""
    spec = config.resolve(name, results.name)
    experiment, size = spec.experiment, results.size(name) or {}
    training = results.training(name)
    blocks = training.get("blocks", [training])
    text = f"# {name}\n\n{what_it_is(name)} [All cards](README.md), [experiment]({UP}/"
    text += f"{paths.experiment_file(name).as_posix()}).\n\n## Data and training\n\n"
    text += f"- Data: {DATA[results.preset.data.kind]}, split `train`.\n"
    text += f"- Preset `{results.name}`, recipe `{experiment.recipe}`: {spec.recipe.source}.\n"
    optimizer = results.preset.training.optimizer or spec.recipe.optimizer
    text += f"- {training['steps']:,} steps of {spec.batch} images with {optimizer} at a rate of {spec.lr:g}, "
    text += f"{training.get('precision', 'unknown')} precision; {md.plural(len(blocks), 'training')}.\n"
    text += f"- Starts from init `{experiment.init}` ({training.get('init_matched', 0)} tensors taken over, "
    text += f"{training.get('init_unmatched', 0)} new).\n"
    for found in differences(name, experiment):
        expected = f" Expected effect: {found.effect}." if found.effect else ""
        text += f"- Differs from the paper: {found.what}.{expected}\n"
    text += f"\n## What it reaches\n\n{metrics_section(results, name)}"
    text += f"\n## Cost\n\n{cost_line(size)}\n## Limits\n\n{limits(results, name)}"
    text += f"\n## Weights and licence\n\n{weights_section(results, name)}"
    return text + f"\n## Load it\n\n{loading(results, name)}"


def what_it_is(name: str) -> str:
    """Return detector, backbone and method in a sentence."""
    experiment = load_experiment(name)
    method, parts = experiment.method, []
    parts += ["PSConv in its 3x3 convolutions"] if method.psconv else []
    parts += ["POD's global scale learners"] if method.global_scale else []
    parts += ["POD's decomposed convolutions"] if method.decomposed else []
    parts += ["multi-scale fusion modules (MSFM)"] if method.fusion else []
    parts += ["deformable convolutions"] if method.deformable else []
    parts += ["dynamic scale training (DST)"] if method.collage else []
    parts += ["scale normalisation for image pyramids (SNIP)"] if method.snip else []
    parts += ["multi-scale training"] if method.short_sides or (len(experiment.pyramid) > 1 and not method.snip) else []
    detector = DETECTORS.get(experiment.detector, experiment.detector)
    text = f"{detector} with a {experiment.backbone} backbone, neck {experiment.neck}, "
    text += f"{md.listing(parts)}." if parts else "without any scale method: a baseline."
    paper = paths.paper_of(name)
    if paper in PAPER_NAMES:
        return f"{text} From {PAPER_NAMES[paper]} ({load_published(paper).paper.year}): {experiment.notes.row}."
    return f"{text} No paper's: it joins methods of several."


def metrics_section(results: Results, name: str) -> str:
    """Return the metrics of every test that was evaluated, with intervals over images."""
    evaluations = {test: paths.evaluation_name(name, test) for test in load_experiment(name).tests}
    found = {test: metrics for test, other in evaluations.items() if (metrics := results.metrics(other)) is not None}

    def cell(metric: str, test: str) -> str:
        draws = (results.bootstrap(evaluations[test]) or {}).get(metric, ())
        return f"{md.percent(found[test].get(metric))} {interval(draws)}".strip()

    if not found:
        return "Not evaluated.\n"
    columns = [md.Column("Test", lambda test: f"`{test}`")]
    columns.append(md.Column("Images", lambda test: f"{found[test]['images']:,}", "r"))
    columns += [md.Column(NAMES[metric], partial(cell, metric), "r") for metric in METRICS]
    text = f"Percent, on the validation images; [brackets](../{HOW}) are over images alone.\n\n"
    return text + md.table(columns, found)


def interval(draws: Any) -> str:
    """Return `[19.1, 22.0]`, percentiles of bootstrap draws in percent; nothing without draws."""
    values = [value for value in draws if value is not None]
    if len(values) < 2:
        return ""
    low, high = np.percentile(values, SHARE)
    return f"[{md.percent(float(low))}, {md.percent(float(high))}]"


def cost_line(size: dict[str, Any]) -> str:
    if not size:
        return "Not measured.\n"
    height, width = size["input"]
    text = f"{size['parameters_total'] / 1e6:.3f} million parameters"
    if size.get("macs"):
        text += f", {size['macs'] / 1e9:.3f} thousand million multiply-adds for one image of {height} x {width} px"
    return text + (" (with the printed scales).\n" if size.get("scales") == "assumed" else ".\n")


def limits(results: Results, name: str) -> str:
    """Return what the network is not good for."""
    lines = []
    if results.preset.data.kind == "scaleworld":
        lines.append("Trained on rendered scenes: it knows their classes and styles, and no photographs.")
    if results.name != "full":
        lines.append("Far smaller and trained far shorter than the paper's: it serves comparisons, not applications.")
    blocks = len(results.training(name).get("blocks", [0]))
    whose = f"Numbers are means over {blocks} trainings, what is exported or loaded is the first of them"
    whose = whose if blocks > 1 else "One training"
    lines.append(f"{whose}; another seed gives other weights and somewhat other numbers.")
    if scale_source(name):
        lines.append("Its scales were learnt on these data and need not fit others.")
    if load_experiment(name).proposals:
        lines.append("Classifies the regions of another experiment's proposals; it finds none itself.")
    return "".join(f"- {line}\n" for line in lines)


def weights_section(results: Results, name: str) -> str:
    path = paths.weights(results.name, name)
    text = f"- `{path.as_posix()}`, a safetensors file whose MD5 stands in the `dvc.lock` of its stage"
    text += f"; not in git: `dvc repro` of its `train` stage makes it, `snakemake --cores 2 {path.as_posix()}` too.\n"
    return text + f"- Licence of code and of weights trained here: [{LICENCE}]({UP}/LICENSE). Data have their own.\n"


def loading(results: Results, name: str) -> str:
    """Return lines of Python that load the network and detect on one image; a test runs them."""
    regions = load_experiment(name).proposals
    given = "regions = [torch.tensor([[20.0, 20.0, 90.0, 90.0]])]  # x1, y1, x2, y2 in the image\n" if regions else ""
    call = "model([image], proposals=regions)" if regions else "model([image])"
    return f"""```python
import torch

from pipeline.config import resolve
from pipeline.data.manifest import load_split
from pipeline.prediction.detector import load_detector

spec = resolve("{name}", "{results.name}")
classes = len(load_split(spec.manifest, "val")["categories"])
model = load_detector(spec, classes, torch.device("cpu"))
image = torch.rand(3, {round(800 * results.preset.factor)}, {round(1333 * results.preset.factor)})  # RGB, 0 to 1
{given}with torch.inference_mode():
    (found,) = {call}  # boxes (x1, y1, x2, y2), labels and scores
```
"""
