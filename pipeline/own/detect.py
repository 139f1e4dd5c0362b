"""Detect in a folder of pictures with a trained detector: COCO results, a table, and the pictures with boxes.

`detections.json` has every detection in COCO results form, `images.json` the pictures and classes that its ids stand
for, `detections.csv` the same with names and whether a detection is shown, `pictures/` what is shown.
"""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from pipeline import markdown as md
from pipeline import paths
from pipeline.data.manifest import load_manifest
from pipeline.errors import InputError, nearest
from pipeline.files import replacing, write_json, write_text
from pipeline.own.suggested import suggested
from pipeline.prediction.detector import coco_results
from pipeline.prediction.folder import PictureFolder, find_pictures
from pipeline.prediction.release import bare, finished, levels_of
from pipeline.prediction.released import Detector
from pipeline.reporting.gallery import draw_boxes
from pipeline.reporting.gallery_choice import group
from pipeline.spec import Spec
from pipeline.training.precision import pick_device, set_threads

PLAIN = 0.5  # the score that a class is shown from where none is suggested
SHORTEST, LONGEST = 800, 1600  # pixels of a drawn picture's long side, so that labels can be read
COLOURS = ((64, 196, 255), (255, 140, 0), (120, 230, 100), (255, 90, 160), (255, 225, 60), (190, 150, 255))
COLUMNS = ("file_name", "class", "score", "x", "y", "width", "height", "shown")


def trained_detector(spec: Spec, test: str) -> Detector:
    """Return the detector of a trained experiment's first block. Raises InputError without weights or such a test."""
    tests = spec.experiment.tests
    if test not in tests:
        raise InputError(f"{spec.name} has no test {test!r}{nearest(test, tests)}; it has {sorted(tests)}.")
    classes, weights = tuple(load_manifest(spec.manifest).category_names), finished(spec)
    thresholds = suggested(spec.preset.name, paths.evaluation_name(spec.name, test))
    return Detector(bare(spec), test, classes, weights, pick_device(), levels_of(spec), thresholds)


def detect_folder(detector: Detector, place: Path, out: Path) -> list[str]:
    """Write what the detector finds in a folder of pictures, or in one, and return what is to be said of it.

    Raises:
        InputError: no such folder, no picture in it, or damaged ones.
    """
    data = detector.spec.preset.data
    root, names, others = find_pictures(place, (out / "pictures").resolve())
    pictures = PictureFolder(root, names, detector.levels, data.exif != "stored", data.max_megapixels)
    set_threads(detector.spec.preset)
    results = [
        result
        for row, found in enumerate(detector.merged(pictures))
        for result in coco_results(pictures.entries[row]["id"], found, pictures.size(row))
    ]
    classes = dict(enumerate(detector.classes, start=1))
    thresholds = {key: detector.thresholds.get(name, PLAIN) for key, name in classes.items()}
    shown = [one for one in results if one["score"] >= thresholds[one["category_id"]]]
    categories = [{"id": key, "name": name} for key, name in classes.items()]
    write_json(out / "images.json", {"images": pictures.entries, "annotations": [], "categories": categories})
    write_json(out / "detections.json", results, indent=None)
    write_text(out / "detections.csv", table(results, pictures, classes, thresholds))
    of_picture, drawn_names = group(shown), set[str]()
    for row, entry in enumerate(tqdm(pictures.entries, "pictures drawn", file=sys.stderr, mininterval=2.0)):
        image = Image.fromarray(pictures.image(row).permute(1, 2, 0).numpy())
        name = entry["file_name"]
        while name in drawn_names or not name.lower().endswith((".jpg", ".jpeg")):  # beside a.png, a.png.jpg may lie
            name += ".jpg"
        drawn_names.add(name)
        path = out / "pictures" / name
        with replacing(path) as temporary:
            drawn(image, of_picture.get(entry["id"], []), classes).save(temporary, quality=92, subsampling=0)
    left = [f"{md.plural(others, 'other file')} in {place} left out: no picture by the name"] if others else []
    return [*left, *said(detector, results, shown, len(pictures), classes), f"All of it lies in {out}"]


def table(
    results: list[dict[str, Any]], pictures: PictureFolder, classes: Mapping[int, str], thresholds: Mapping[int, float]
) -> str:
    """Return all detections as CSV."""
    names = {entry["id"]: entry["file_name"] for entry in pictures.entries}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in results:
        label = one["category_id"]
        shown = "yes" if one["score"] >= thresholds[label] else "no"
        writer.writerow([names[one["image_id"]], classes[label], one["score"], *one["bbox"], shown])
    return text.getvalue()


def drawn(image: Image.Image, shown: list[dict[str, Any]], classes: Mapping[int, str]) -> Image.Image:
    """Return a picture with boxes, at a size in which their labels can be read."""
    side = max(image.size)
    scale = min(max(side, SHORTEST), LONGEST) / side
    panel = image.resize([max(1, round(one * scale)) for one in image.size], Image.Resampling.LANCZOS)
    boxes = [
        (one["bbox"], COLOURS[(label - 1) % len(COLOURS)], f"{classes[label]} {100 * one['score']:.0f}", False)
        for one in shown
        for label in [one["category_id"]]
    ]
    draw_boxes(panel, boxes, scale)
    return panel


def said(
    detector: Detector, results: list[dict], shown: list[dict], pictures: int, classes: Mapping[int, str]
) -> list[str]:
    """Return what was found, and from which scores it is shown."""
    counts = Counter(classes[one["category_id"]] for one in shown)
    parts = ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
    lines = [
        f"{md.plural(pictures, 'picture')}, {len(shown):,} of {len(results):,} detections shown: {parts or 'none'}"
    ]
    best = [f"{name} {detector.thresholds[name]:.2f}" for name in detector.classes if name in detector.thresholds]
    plain = [name for name in detector.classes if name not in detector.thresholds]
    if best:
        lines.append(f"Shown from the score of the best F1 on the validation pictures: {', '.join(best)}")
    if plain:
        whose = ", ".join(plain) if best else "every class"
        lines.append(f"Shown from {PLAIN:g}, a plain default because none is suggested: {whose}")
    return lines
