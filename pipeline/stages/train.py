"""Train one detector: `python -m pipeline.stages.train EXPERIMENT --preset PRESET`.

`SCALEWISE_PROCESSES=gpus` in the environment trains on all GPUs of the machine.
"""

import argparse

from pipeline import config
from pipeline.cli import run
from pipeline.launch import spread


def main(options: argparse.Namespace) -> None:
    spec = config.resolve(options.name, options.preset)
    spread("pipeline.stages.train")
    from pipeline.training.detection import train_detector

    train_detector(spec)


if __name__ == "__main__":
    run(main, __doc__, name="experiment")
