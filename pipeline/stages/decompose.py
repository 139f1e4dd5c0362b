"""Write the inits of fast-deployment networks: `python -m pipeline.stages.decompose EXPERIMENT --preset PRESET`."""

from pipeline.cli import run_spec
from pipeline.spec import Spec


def main(spec: Spec) -> None:
    from pipeline.training.global_scales import decompose_init

    decompose_init(spec)


if __name__ == "__main__":
    run_spec(main, __doc__)
