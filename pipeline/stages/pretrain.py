"""Pre-train one backbone: `python -m pipeline.stages.pretrain INIT --preset PRESET`.

`SCALEWISE_PROCESSES=gpus` in the environment trains on all GPUs of the machine.
"""

import argparse

from pipeline import config
from pipeline.cli import run
from pipeline.launch import spread


def main(options: argparse.Namespace) -> None:
    spec = config.resolve(options.name, options.preset)
    from pipeline.training.classification.pretraining import pretrain, several_can_train

    if several_can_train(spec):
        spread("pipeline.stages.pretrain")
    pretrain(spec)


if __name__ == "__main__":
    run(main, __doc__, name="init")
