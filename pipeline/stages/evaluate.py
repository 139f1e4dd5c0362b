"""Score detections: `python -m pipeline.stages.evaluate EXPERIMENT[__TEST] --preset PRESET`."""

import argparse

from pipeline import config, paths
from pipeline.cli import run
from pipeline.evaluation.scoring import score


def main(options: argparse.Namespace) -> None:
    experiment, test = paths.split_evaluation(options.name)
    score(config.resolve(experiment, options.preset), test)


if __name__ == "__main__":
    run(main, __doc__, name="evaluation")
