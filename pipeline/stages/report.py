"""Write the way into a preset's report, README.md: links to all pages, and what was looked at besides AP."""

import argparse

from pipeline.cli import run
from pipeline.reporting.front_page import write_front_page


def main(args: argparse.Namespace) -> None:
    write_front_page(args.preset)


if __name__ == "__main__":
    run(main, __doc__)
