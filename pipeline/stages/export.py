"""Write a network as ONNX: `python -m pipeline.stages.export EXPERIMENT --preset PRESET`.

A whole classifier, or a detector's backbone and neck, is written to data/runs/<preset>/<experiment>/backbone.onnx.
"""

import argparse

from pipeline import config
from pipeline.cli import run


def main(options: argparse.Namespace) -> None:
    spec = config.resolve(options.name, options.preset)
    from pipeline.training.deploy import export_experiment

    export_experiment(spec)


if __name__ == "__main__":
    run(main, __doc__, name="experiment")
