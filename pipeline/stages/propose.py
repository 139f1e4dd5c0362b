"""Propose regions in all images: `python -m pipeline.stages.propose EXPERIMENT --preset PRESET`."""

import argparse

from pipeline import config
from pipeline.cli import run


def main(options: argparse.Namespace) -> None:
    spec = config.resolve(options.name, options.preset)
    from pipeline.training.proposing import propose

    propose(spec)


if __name__ == "__main__":
    run(main, __doc__, name="experiment")
