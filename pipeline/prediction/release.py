"""A finished detector as one folder for people without this project's data and results: weights, config, model card.

`model.safetensors` are the weights of the experiment's first block; `config.json` holds all that builds the network and
runs its tests, and the classes; `README.md` is a model card in the form of Hugging Face's hub; `backbone.onnx` is there
where the graph exported it. `pipeline.prediction.released.load` reads the folder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
from msgspec.structs import replace

from pipeline import markdown, paths
from pipeline.data.manifest import load_manifest
from pipeline.errors import InputError
from pipeline.files import found_json, replacing, write_json, write_text
from pipeline.options import Notes
from pipeline.preset import Data
from pipeline.spec import Spec
from pipeline.training.checkpoint import load_weights, save_weights

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
ALONE = ("classifier", "d_rfcn_rcn", "d_rfcn_rpn")  # find no objects alone
SHOWN = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_small": "small", "ap_medium": "medium", "ap_large": "large"}


def write_release(spec: Spec, folder: Path) -> None:
    """Write the folder of a trained detector.

    Raises:
        InputError: it was not trained, or finds no objects by itself.
    """
    kind, preset, file = spec.experiment.detector, spec.preset.name, paths.weights(spec.preset.name, spec.name)
    if kind in ALONE:
        raise InputError(f"{spec.name} is a {kind}, which finds no objects by itself; release a detector.")
    if not file.is_file():
        raise InputError(
            f"{spec.name} was not trained under preset {preset} ({file} does not exist); run `dvc repro` of its train "
            "stage first."
        )
    classes = load_manifest(spec.manifest).category_names
    folder.mkdir(parents=True, exist_ok=True)
    onnx = paths.onnx(preset, spec.name)
    save_weights(folder / WEIGHTS, *load_weights(file))
    if onnx.is_file():
        with replacing(folder / onnx.name) as temporary:
            shutil.copyfile(onnx, temporary)
    write_json(folder / CONFIG, {"experiment": spec.name, "classes": classes, "spec": msgspec.to_builtins(bare(spec))})
    write_text(folder / CARD, card(spec, classes))


def bare(spec: Spec) -> Spec:
    """Return a specification without the places of the data that it was trained on, and without its notes."""
    preset = replace(spec.preset, data=Data(kind=spec.data.kind), datasets=None, labelled=None)
    notes = Notes(row=spec.experiment.notes.row)
    return replace(spec.of_block(1), preset=preset, experiment=replace(spec.experiment, notes=notes))


def card(spec: Spec, classes: list[str]) -> str:
    """Return the model card."""
    experiment, preset = spec.experiment, spec.preset
    head = {"license": "apache-2.0", "library_name": "scalewise", "pipeline_tag": "object-detection"}
    front = "".join(f"{key}: {value}\n" for key, value in head.items())
    text = f"---\n{front}tags: [object-detection, scalewise]\n---\n# {spec.name}\n\n"
    text += f"A {experiment.detector} with a {experiment.backbone} backbone, neck {experiment.neck}; row "
    text += (
        f"`{experiment.notes.row}` of the reproduction `scalewise`. Preset `{preset.name}` ({preset.title}), recipe "
    )
    text += f"`{experiment.recipe}` ({spec.recipe.source}), seed {spec.seed}.\n\n"
    methods = {name: value for name, value in msgspec.to_builtins(experiment.method).items() if value}
    text += f"Method: `{json.dumps(methods)}`.\n\n## Results\n\n{results(spec)}\n## Use\n\n"
    text += "Load it with the project's code, from a folder or from Hugging Face's hub:\n\n```python\n"
    text += "from pipeline.prediction.released import load\n\n"
    text += 'detector = load("this-folder")  # or "USER/NAME" of the hub\n'
    text += 'found = detector(["image.jpg"])[0]  # boxes (x1, y1, x2, y2 in the image), scores, labels, names\n```\n\n'
    text += f"{len(classes)} classes: {', '.join(classes)}.\n\n## Limits\n\n"
    text += (
        "One training; another seed gives somewhat other numbers. It knows its training data's classes and styles.\n"
    )
    return text


def results(spec: Spec) -> str:
    """Return the metrics of the tests that were evaluated, in percent."""
    names = {
        test: paths.metrics(spec.preset.name, paths.evaluation_name(spec.name, test)) for test in spec.experiment.tests
    }
    found = {test: numbers.get("blocks", [numbers])[0] for test, path in names.items() if (numbers := found_json(path))}
    if not found:
        return "Not evaluated.\n"
    columns = [markdown.Column("Test", lambda test: f"`{test}`")]
    columns += [
        markdown.Column(title, lambda test, name=name: markdown.percent(found[test].get(name)), "r")
        for name, title in SHOWN.items()
    ]
    return "Percent, on the preset's validation images.\n\n" + markdown.table(columns, found)
