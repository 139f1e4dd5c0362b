"""Draw a set of figures, each with its data: headline, dst, scale_stability, or papers (which also lists all)."""

import argparse

from pipeline.cli import run
from pipeline.reporting.modules import load


def main(args: argparse.Namespace) -> None:
    load("figures", args.name)(args.preset)


if __name__ == "__main__":
    run(main, __doc__, name="figures")
