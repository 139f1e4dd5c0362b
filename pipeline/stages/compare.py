"""Write which scale method helps on the preset's data: `python -m pipeline.stages.compare --preset PRESET`."""

import argparse

from pipeline.cli import run


def main(options: argparse.Namespace) -> None:
    from pipeline.own.page import write_comparison

    write_comparison(options.preset)


if __name__ == "__main__":
    run(main, __doc__)
