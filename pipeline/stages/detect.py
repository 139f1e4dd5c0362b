"""Detect in pictures: `python -m pipeline.stages.detect EXPERIMENT[__TEST] --images FOLDER_OR_FILE [--out FOLDER]`.

With `--from FOLDER` in the place of the experiment, what `pipeline.stages.export NAME --folder FOLDER` wrote detects
alone. COCO results, a CSV and pictures with boxes are written, no stage of the graph reads them.
"""

import argparse
from pathlib import Path

from pipeline import config, paths
from pipeline.cli import run
from pipeline.errors import InputError


def main(options: argparse.Namespace) -> None:
    if bool(options.name) == bool(options.released):
        raise InputError("Name an experiment, or an exported folder after --from: one of the two.")
    if options.name and options.test:
        raise InputError(f"--test is for --from; write {options.name}__{options.test} for a test of an experiment.")
    from pipeline.own.detect import detect_folder, trained_detector
    from pipeline.prediction.released import load
    from pipeline.training.precision import pick_device

    if options.released:
        if not Path(options.released).is_dir():
            raise InputError(f"{options.released} is no folder; name one that the export stage wrote with --folder.")
        detector = load(options.released, options.test, pick_device())
    else:
        experiment, test = paths.split_evaluation(options.name)
        detector = trained_detector(config.resolve(experiment, options.preset), test)
    print("\n".join(detect_folder(detector, Path(options.images), Path(options.out))))


def extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="EVALUATION", help="a trained experiment, or one of its tests")
    parser.add_argument("--from", dest="released", metavar="FOLDER", help="an exported detector instead")
    parser.add_argument("--test", help="of the exported detector (default: its first)")
    parser.add_argument("--images", required=True, help="a folder of pictures, also below it, or one picture")
    parser.add_argument("--out", default="detected", help="folder for the results (default: detected)")


if __name__ == "__main__":
    run(main, __doc__, extend=extend, instead="released")
