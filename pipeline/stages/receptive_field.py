"""Compare receptive fields and densities of connections (POD, section 3).

`python -m pipeline.stages.receptive_field EXPERIMENT --preset PRESET` uses printed scales and, where they exist, those
that the GSL experiment has learnt.
"""

import argparse

from pipeline import paths
from pipeline.cli import run
from pipeline.files import write_json


def main(options: argparse.Namespace) -> None:
    from pipeline.analysis.connections import analyse
    from pipeline.reporting.figures.receptive_field import draw_receptive_field

    numbers, profiles = analyse(options.name, options.preset)
    draw_receptive_field(numbers, profiles, paths.figure(options.preset, "receptive_field"))
    write_json(paths.receptive_field(options.preset), numbers)


if __name__ == "__main__":
    run(main, __doc__, name="experiment")
