"""Train one detector: `python -m pipeline.stages.train EXPERIMENT --preset PRESET`."""

import argparse

from pipeline import config
from pipeline.cli import run


def main(options: argparse.Namespace) -> None:
    spec = config.resolve(options.name, options.preset)
    from pipeline.training.detection import train_detector

    train_detector(spec)


if __name__ == "__main__":
    run(main, __doc__, name="experiment")
