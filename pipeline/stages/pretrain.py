"""Pre-train one backbone: `python -m pipeline.stages.pretrain INIT --preset PRESET`.

`SCALEWISE_PROCESSES=gpus` in the environment trains on all GPUs of the machine.
"""

from pipeline.cli import run_spec
from pipeline.launch import spread
from pipeline.spec import Spec


def main(spec: Spec) -> None:
    from pipeline.training.classification.pretraining import pretrain, several_can_train

    if several_can_train(spec):
        spread("pipeline.stages.pretrain")
    pretrain(spec)


if __name__ == "__main__":
    run_spec(main, __doc__, name="init")
