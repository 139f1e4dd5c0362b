"""Train one detector: `python -m pipeline.stages.train EXPERIMENT --preset PRESET`.

`SCALEWISE_PROCESSES=gpus` in the environment trains on all GPUs of the machine.
"""

from pipeline.cli import run_spec
from pipeline.launch import spread
from pipeline.spec import Spec


def main(spec: Spec) -> None:
    spread("pipeline.stages.train")
    from pipeline.training.detection import train_detector

    train_detector(spec)


if __name__ == "__main__":
    run_spec(main, __doc__)
