"""Write one published table with our numbers beside it, as Markdown and CSV."""

import argparse

from pipeline.cli import run
from pipeline.reporting.tables import write_table


def main(args: argparse.Namespace) -> None:
    write_table(args.name, args.preset)


if __name__ == "__main__":
    run(main, __doc__, name="table")
