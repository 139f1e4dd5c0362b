"""Write every claim of the papers with our numbers and a verdict, as Markdown and CSV."""

import argparse

from pipeline.cli import run
from pipeline.reporting.claims_page import write_claims


def main(args: argparse.Namespace) -> None:
    write_claims(args.preset)


if __name__ == "__main__":
    run(main, __doc__)
