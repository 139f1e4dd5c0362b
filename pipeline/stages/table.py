"""Write one published table with our numbers beside it, as Markdown and CSV.

Rows without a result read `not run`. `--headline` shows only the rows that the quickstart trains.
"""

import argparse

from pipeline.cli import run
from pipeline.reporting.tables import write_table


def main(args: argparse.Namespace) -> None:
    write_table(args.name, args.preset, args.headline)


def extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--headline", action="store_true", help="only the rows that the quickstart trains")


if __name__ == "__main__":
    run(main, __doc__, name="table", extend=extend)
