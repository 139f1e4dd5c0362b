"""Derive DST's threshold from a baseline: `python -m pipeline.stages.loss_share EXPERIMENT --preset PRESET`."""

import argparse

from pipeline import config
from pipeline.cli import run


def main(options: argparse.Namespace) -> None:
    spec = config.resolve(options.name, options.preset)
    from pipeline.analysis.loss_share import write_shares

    write_shares(spec.preset.name, spec.name)


if __name__ == "__main__":
    run(main, __doc__, name="experiment")
