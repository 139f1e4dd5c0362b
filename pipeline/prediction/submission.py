"""Detections on images without public annotations (COCO's test-dev), packed for COCO's server.

`python -m pipeline.prediction.submission EXPERIMENT[__TEST] --preset full` after `python -m pipeline.stages.fetch
coco_test_dev`. Only the server can score the archive, so no table has a row of test-dev.
"""

import argparse
import json
import zipfile
from pathlib import Path
from typing import Any

from pipeline import config, paths
from pipeline.cli import run
from pipeline.data.coco import read_instances
from pipeline.data.detection_set import DetectionSet
from pipeline.data.manifest import load_manifest
from pipeline.errors import InputError, nearest
from pipeline.evaluation.inputs import labels_of
from pipeline.files import replacing
from pipeline.prediction.detector import NMS, coco_results, detect_levels, load_detect, merge
from pipeline.spec import Spec
from pipeline.training.precision import pick_device, set_threads

STAMP = (1980, 1, 1, 0, 0, 0)  # fixed, so that the same detections give the same bytes


def submit(spec: Spec, test: str, annotations: Path, images: Path, server_split: str) -> Path:
    """Detect objects in every image of an instances file without annotations; write the archive and return its path.

    Category ids are those of the training data's source, so for COCO they are COCO's own.

    Raises:
        InputError: an unknown test, an experiment that classifies given regions, or a category unknown in training.
    """
    tests = spec.experiment.tests
    if test not in tests:
        raise InputError(f"{spec.name} has no test {test!r}{nearest(test, tests)}; it has {sorted(tests)}.")
    if spec.experiment.detector.startswith("d_rfcn"):
        raise InputError(
            f"{spec.name} needs or makes proposals, and none exist for {server_split}; name an experiment of another "
            "detector."
        )
    set_threads(spec.preset)
    device, options = pick_device(), tests[test]
    manifest = load_manifest(spec.manifest)
    coco, _, _ = read_instances(annotations, images)
    unknown = sorted(set(labels_of(coco["categories"])) - set(manifest.category_names))
    if unknown:
        raise InputError(f"{annotations} has the category {unknown[0]!r}, which was not trained; name COCO's own file.")
    split = {"images_root": str(images), "images": coco["images"], "annotations": [], "categories": manifest.categories}
    data = DetectionSet(split)
    by_level = detect_levels(load_detect(spec, options, data.classes, device), data, spec, options, device)
    results: list[dict[str, Any]] = []
    for row, entry in enumerate(data.entries):
        merged = merge([level[row] for level in by_level], options, spec.preset, NMS)
        results.extend(coco_results(entry["id"], merged, data.size(row)))
    original = {category["id"]: category["original_id"] for category in manifest.categories}
    results = [result | {"category_id": original[result["category_id"]]} for result in results]
    name = f"detections_{server_split}_{paths.evaluation_name(spec.name, test)}_results"
    path = paths.run(spec.preset.name, spec.name) / f"{name}.zip"
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(f"{name}.json", STAMP)
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, json.dumps(results, separators=(",", ":")))
    return path


def main(options: argparse.Namespace) -> None:
    experiment, test = paths.split_evaluation(options.name)
    spec = config.resolve(experiment, options.preset)
    print(submit(spec, test, options.annotations, options.images, options.split))


def extend(parser: argparse.ArgumentParser) -> None:
    annotations, images = Path("data/coco/annotations/test_dev2017.json"), Path("data/coco/test2017")
    parser.add_argument("--annotations", type=Path, default=annotations, help=f"instances file ({annotations})")
    parser.add_argument("--images", type=Path, default=images, help=f"folder of the images ({images})")
    parser.add_argument("--split", default="test-dev2017", help="name that the server gives the split (test-dev2017)")


if __name__ == "__main__":
    run(main, __doc__, name="evaluation", extend=extend)
