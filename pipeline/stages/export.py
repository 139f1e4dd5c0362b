"""Write a network as ONNX: `python -m pipeline.stages.export EXPERIMENT --preset PRESET [--folder FOLDER]`.

A whole classifier, or a detector's backbone and neck, is written to data/runs/<preset>/<experiment>/backbone.onnx. With
--folder, a finished detector is written whole: weights, config and model card, as torch.hub and Hugging Face take them,
and detector.onnx, which is compared with PyTorch on validation pictures.
"""

import argparse
from pathlib import Path

from pipeline import config
from pipeline.cli import run
from pipeline.errors import InputError


def main(options: argparse.Namespace) -> None:
    if options.without_onnx and not options.folder:
        raise InputError("--without-onnx leaves detector.onnx out of a folder; name the folder after --folder.")
    spec = config.resolve(options.name, options.preset)
    if options.folder:
        from pipeline.own.suggested import suggested_by_test
        from pipeline.prediction.release import ONNX, write_release
        from pipeline.prediction.whole import export_whole

        folder = Path(options.folder)
        onnx = None if options.without_onnx else export_whole(spec, folder)
        write_release(spec, folder, suggested_by_test(spec), onnx)
        if onnx and "left_out" in onnx:
            print(f"{ONNX} is left out: {onnx['left_out']}.")
    else:
        from pipeline.prediction.deploy import export_experiment

        export_experiment(spec)


def extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", help="write the whole detector into this folder instead")
    parser.add_argument("--without-onnx", action="store_true", help="leave detector.onnx out of the folder")


if __name__ == "__main__":
    run(main, __doc__, name="experiment", extend=extend)
