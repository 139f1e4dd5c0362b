"""Plot how stable POD's learnt scales are, beside a deformable network's offsets."""

import argparse

from pipeline import paths
from pipeline.cli import run
from pipeline.reporting.figures.scales import draw_scale_stability
from pipeline.verdicts.results import Results


def main(args: argparse.Namespace) -> None:
    draw_scale_stability(Results(args.preset), paths.figure(args.preset, "scale_stability"))


if __name__ == "__main__":
    run(main, __doc__)
