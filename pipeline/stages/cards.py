"""Write a model card of every trained network that the report rests on."""

import argparse

from pipeline.cli import run
from pipeline.reporting.cards import write_cards


def main(args: argparse.Namespace) -> None:
    write_cards(args.preset)


if __name__ == "__main__":
    run(main, __doc__)
