"""Write the catalogue: every table that the papers print, with what came of its rows under a preset."""

import argparse

from pipeline.cli import run
from pipeline.reporting.catalogue import write_catalogue


def main(args: argparse.Namespace) -> None:
    write_catalogue(args.preset)


if __name__ == "__main__":
    run(main, __doc__)
