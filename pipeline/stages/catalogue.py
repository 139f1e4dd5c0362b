"""Write the list of all tables that were made under a preset."""

import argparse

from pipeline.cli import run
from pipeline.reporting.catalogue import write_catalogue


def main(args: argparse.Namespace) -> None:
    write_catalogue(args.preset)


if __name__ == "__main__":
    run(main, __doc__)
