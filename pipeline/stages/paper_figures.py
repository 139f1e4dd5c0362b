"""Draw the papers' figures that need more than the quickstart's rows, and list all figures."""

import argparse

from pipeline.cli import run
from pipeline.reporting.figures_page import write_figures_page


def main(args: argparse.Namespace) -> None:
    write_figures_page(args.preset)


if __name__ == "__main__":
    run(main, __doc__)
