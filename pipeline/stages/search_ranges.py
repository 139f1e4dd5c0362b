"""Search a pyramid's valid ranges: `python -m pipeline.stages.search_ranges EXPERIMENT__TEST --preset PRESET`."""

import argparse

from pipeline import config, paths
from pipeline.cli import run


def main(options: argparse.Namespace) -> None:
    experiment, test = paths.split_evaluation(options.name)
    spec = config.resolve(experiment, options.preset)
    from pipeline.training.range_search import search

    search(spec, test)


if __name__ == "__main__":
    run(main, __doc__, name="evaluation")
