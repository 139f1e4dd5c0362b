"""Write the inits of fast-deployment networks: `python -m pipeline.stages.decompose EXPERIMENT --preset PRESET`."""

import argparse

from pipeline import config
from pipeline.cli import run


def main(options: argparse.Namespace) -> None:
    spec = config.resolve(options.name, options.preset)
    from pipeline.training.global_scales import decompose_init

    decompose_init(spec)


if __name__ == "__main__":
    run(main, __doc__, name="experiment")
