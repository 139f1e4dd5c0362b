"""Write the page that puts all methods and their combinations side by side."""

import argparse

from pipeline.cli import run
from pipeline.reporting.methods_page import write_methods


def main(args: argparse.Namespace) -> None:
    write_methods(args.preset)


if __name__ == "__main__":
    run(main, __doc__)
