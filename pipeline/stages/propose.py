"""Propose regions in all images: `python -m pipeline.stages.propose EXPERIMENT --preset PRESET`."""

from pipeline.cli import run_spec
from pipeline.spec import Spec


def main(spec: Spec) -> None:
    from pipeline.prediction.proposing import propose

    propose(spec)


if __name__ == "__main__":
    run_spec(main, __doc__)
