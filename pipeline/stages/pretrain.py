"""Pre-train one backbone: `python -m pipeline.stages.pretrain INIT --preset PRESET`."""

import argparse

from pipeline import config
from pipeline.cli import run


def main(options: argparse.Namespace) -> None:
    spec = config.resolve(options.name, options.preset)
    from pipeline.training.classification import pretrain

    pretrain(spec)


if __name__ == "__main__":
    run(main, __doc__, name="init")
