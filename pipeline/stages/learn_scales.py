"""Average the learnt scales of a GSL network: `python -m pipeline.stages.learn_scales EXPERIMENT --preset PRESET`."""

from pipeline.cli import run_spec
from pipeline.spec import Spec


def main(spec: Spec) -> None:
    from pipeline.training.global_scales import learn_scales

    learn_scales(spec)


if __name__ == "__main__":
    run_spec(main, __doc__)
