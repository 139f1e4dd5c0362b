"""Draw the figures of a preset's report from its metrics and histories."""

import argparse

from pipeline.cli import run
from pipeline.reporting.figures.headline import draw_figures


def main(args: argparse.Namespace) -> None:
    draw_figures(args.preset)


if __name__ == "__main__":
    run(main, __doc__)
