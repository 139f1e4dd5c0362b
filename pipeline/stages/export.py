"""Write a network as ONNX: `python -m pipeline.stages.export EXPERIMENT --preset PRESET [--folder FOLDER]`.

A whole classifier, or a detector's backbone and neck, is written to data/runs/<preset>/<experiment>/backbone.onnx. With
--folder, a finished detector is written whole: weights, config and model card, as torch.hub and Hugging Face take them.
"""

import argparse
from pathlib import Path

from pipeline import config
from pipeline.cli import run


def main(options: argparse.Namespace) -> None:
    spec = config.resolve(options.name, options.preset)
    if options.folder:
        from pipeline.own.suggested import suggested_by_test
        from pipeline.prediction.release import write_release

        write_release(spec, Path(options.folder), suggested_by_test(spec))
    else:
        from pipeline.prediction.deploy import export_experiment

        export_experiment(spec)


def extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", help="write the whole detector into this folder instead")


if __name__ == "__main__":
    run(main, __doc__, name="experiment", extend=extend)
