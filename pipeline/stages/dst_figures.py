"""Plot DST's figures 1 and 4: `python -m pipeline.stages.dst_figures --preset PRESET`."""

import argparse

from pipeline.cli import run


def main(options: argparse.Namespace) -> None:
    from pipeline.reporting.figures.dst import draw_dst_figures

    draw_dst_figures(options.preset)


if __name__ == "__main__":
    run(main, __doc__)
