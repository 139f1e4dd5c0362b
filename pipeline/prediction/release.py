"""A finished detector as one folder for people without this project's data and results: weights, config, model card.

`model.safetensors` are the weights of the experiment's first block; `config.json` holds all that builds the network and
runs its tests, and the classes; `README.md` is a model card in the form of Hugging Face's hub; `detector.onnx` is the
whole detector (`pipeline.prediction.whole`) and `backbone.onnx` is there where the graph exported it.
`pipeline.prediction.released.load` reads the folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from pipeline import markdown, paths
from pipeline.data.manifest import load_manifest, load_split
from pipeline.data.pixels import LEVELS
from pipeline.errors import InputError
from pipeline.files import found_json, replacing, write_json, write_text
from pipeline.options import Notes
from pipeline.prediction.onnx_card import onnx_section
from pipeline.preset import Data
from pipeline.spec import Spec
from pipeline.training.checkpoint import load_weights, save_weights
from pipeline.verbatim import verbatim

WEIGHTS, CONFIG, CARD, ONNX = "model.safetensors", "config.json", "README.md", "detector.onnx"
ALONE = ("classifier", "d_rfcn_rcn", "d_rfcn_rpn")  # find no objects alone
THRESHOLDS_ARE = "the scores of the best F1 on the validation pictures at IoU 0.5, which flatters them a little"
SHOWN = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_small": "small", "ap_medium": "medium", "ap_large": "large"}


def write_release(
    spec: Spec,
    folder: Path,
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
    onnx: Mapping[str, Any] | None = None,
) -> None:
    """Write the folder of a trained detector.

    Args:
        spec: the experiment.
        folder: is made where it does not exist.
        thresholds: by test and class the score to show detections from, of the best F1 on the validation pictures.
        onnx: what `pipeline.prediction.whole.export_whole` returned for this folder; None where it was not asked.

    Raises:
        InputError: it was not trained, or finds no objects by itself.
    """
    preset, file = spec.preset.name, finished(spec)
    folder.mkdir(parents=True, exist_ok=True)
    backbone = paths.onnx(preset, spec.name)
    save_weights(folder / WEIGHTS, *load_weights(file))
    if backbone.is_file():
        with replacing(folder / backbone.name) as temporary:
            shutil.copyfile(backbone, temporary)
    if not onnx or "left_out" in onnx:
        (folder / ONNX).unlink(missing_ok=True)  # of an earlier export
    classes = load_manifest(spec.manifest).category_names
    content = {"experiment": spec.name, "classes": classes, "levels": levels_of(spec), "thresholds_are": THRESHOLDS_ARE}
    content |= {"thresholds": thresholds or {}, "spec": msgspec.to_builtins(bare(spec))}
    content |= {"onnx": dict(onnx)} if onnx else {}
    write_json(folder / CONFIG, content)
    write_text(folder / CARD, card(spec, classes, thresholds or {}, onnx))


def finished(spec: Spec) -> Path:
    """Return the weights of a trained detector that finds objects by itself. Raises InputError where it is none."""
    kind, preset, file = spec.experiment.detector, spec.preset.name, paths.weights(spec.preset.name, spec.name)
    if kind in ALONE:
        raise InputError(f"{spec.name} is a {kind}, which finds no objects by itself; name a detector that does.")
    if not file.is_file():
        raise InputError(
            f"{spec.name} was not trained under preset {preset} ({file} does not exist); run `dvc repro` of its train "
            "stage first."
        )
    return file


def levels_of(spec: Spec) -> float:
    """Return how many grey levels of 16-bit and float pictures become 256, as the detector saw them in training."""
    images = load_split(spec.manifest, "val")["images"]
    return next((entry["levels"] for entry in images if "levels" in entry), float(LEVELS))


def as_stored(spec: Spec) -> bool:
    """Whether pictures with an EXIF orientation were trained on as they are stored: by the preset, or as found."""
    if spec.data.exif != "auto":
        return spec.data.exif == "stored"
    counts = [entry.get("excluded", {}) for entry in load_manifest(spec.manifest).splits.values()]
    return any("exif_ignored" in one for one in counts) and not any("exif_rotated" in one for one in counts)


def bare(spec: Spec) -> Spec:
    """Return a specification without the places of the data that it was trained on, and without its notes."""
    exif = "stored" if as_stored(spec) else spec.data.exif
    data = Data(kind=spec.data.kind, exif=exif, max_megapixels=spec.data.max_megapixels)
    preset = replace(spec.preset, data=data, datasets=None, labelled=None)
    notes = Notes(row=spec.experiment.notes.row)
    return replace(spec.of_block(1), preset=preset, experiment=replace(spec.experiment, notes=notes))


def card(
    spec: Spec,
    classes: list[str],
    thresholds: Mapping[str, Mapping[str, float]],
    onnx: Mapping[str, Any] | None = None,
) -> str:
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
    text += (
        "Or detect in a folder of pictures: `python -m pipeline.stages.detect --from this-folder --images FOLDER`.\n\n"
    )
    names = ", ".join(map(verbatim, classes))
    text += f"{markdown.plural(len(classes), 'class', 'classes')}: {names}.\n\n{suggestions(thresholds)}"
    text += f"{onnx_section(onnx, spec, as_stored(spec), levels_of(spec)) if onnx else ''}## Limits\n\n"
    text += (
        "One training; another seed gives somewhat other numbers. It knows its training data's classes and styles.\n"
    )
    return text


def suggestions(thresholds: Mapping[str, Mapping[str, float]]) -> str:
    """Return a paragraph on the scores to show detections from, by test and class."""
    parts = [
        f"{verbatim(name)} {score:.2f}{'' if len(thresholds) == 1 else f' (`{test}`)'}"
        for test, of_class in thresholds.items()
        for name, score in of_class.items()
    ]
    return f"Show detections from a score of {', '.join(parts)}: {THRESHOLDS_ARE}.\n\n" if parts else ""


def results(spec: Spec) -> str:
    """Return the metrics of the tests that were evaluated, in percent; a comparison scores them by class alone."""
    found = {}
    for test in spec.experiment.tests:
        name = paths.evaluation_name(spec.name, test)
        files = (paths.metrics(spec.preset.name, one) for one in (name, paths.per_class_name(name)))
        numbers = next((content for file in files if (content := found_json(file))), None)
        if numbers:
            found[test] = numbers.get("blocks", [numbers])[0]
    if not found:
        return "Not evaluated.\n"
    columns = [markdown.Column("Test", lambda test: f"`{test}`")]
    columns += [
        markdown.Column(title, lambda test, name=name: markdown.percent(found[test].get(name)), "r")
        for name, title in SHOWN.items()
    ]
    return "Percent, on the preset's validation images.\n\n" + markdown.table(columns, found)
