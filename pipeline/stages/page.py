"""Write one paper's page of a preset's report."""

import argparse

from pipeline.cli import run
from pipeline.reporting.pages import write_page


def main(args: argparse.Namespace) -> None:
    write_page(args.name, args.preset)


if __name__ == "__main__":
    run(main, __doc__, name="paper")
