"""Write the first page of a preset's report."""

import argparse

from pipeline.cli import run
from pipeline.reporting.index_page import write_index


def main(args: argparse.Namespace) -> None:
    write_index(args.preset)


if __name__ == "__main__":
    run(main, __doc__)
