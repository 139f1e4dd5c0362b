"""Render the embedded data set of a preset: `python -m pipeline.stages.synthesize --preset PRESET`."""

import argparse

from pipeline import config
from pipeline.cli import run
from pipeline.data.sources import synthesize


def main(options: argparse.Namespace) -> None:
    synthesize(config.load_preset(options.preset))


if __name__ == "__main__":
    run(main, __doc__)
