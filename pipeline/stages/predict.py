"""Detect on the validation images: `python -m pipeline.stages.predict EXPERIMENT[__TEST] --preset PRESET`."""

import argparse

from pipeline import config, paths
from pipeline.cli import run


def main(options: argparse.Namespace) -> None:
    experiment, test = paths.split_evaluation(options.name)
    spec = config.resolve(experiment, options.preset)
    from pipeline.training.prediction import predict

    predict(spec, test)


if __name__ == "__main__":
    run(main, __doc__, name="evaluation")
