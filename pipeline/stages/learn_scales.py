"""Average the learnt scales of a GSL network: `python -m pipeline.stages.learn_scales EXPERIMENT --preset PRESET`."""

import argparse

from pipeline import config
from pipeline.cli import run


def main(options: argparse.Namespace) -> None:
    spec = config.resolve(options.name, options.preset)
    from pipeline.training.global_scales import learn_scales

    learn_scales(spec)


if __name__ == "__main__":
    run(main, __doc__, name="experiment")
