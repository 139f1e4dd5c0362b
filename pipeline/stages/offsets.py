"""Measure a deformable network's offset spread: `python -m pipeline.stages.offsets EXPERIMENT --preset PRESET`."""

import argparse

from pipeline import config
from pipeline.cli import run


def main(options: argparse.Namespace) -> None:
    spec = config.resolve(options.name, options.preset)
    from pipeline.training.offset_spread import measure_offsets

    measure_offsets(spec)


if __name__ == "__main__":
    run(main, __doc__, name="experiment")
