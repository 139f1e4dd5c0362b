"""Write one page of a preset's report: a paper's (`pod`, ...), index, catalogue, claims, methods, cards, ..."""

import argparse

from pipeline import paths
from pipeline.cli import run
from pipeline.reporting.modules import load


def main(args: argparse.Namespace) -> None:
    write = load("page", args.name)
    write(*([args.name] if args.name in paths.PAPERS else []), args.preset)


if __name__ == "__main__":
    run(main, __doc__, name="page")
