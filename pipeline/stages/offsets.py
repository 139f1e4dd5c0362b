"""Measure a deformable network's offset spread: `python -m pipeline.stages.offsets EXPERIMENT --preset PRESET`."""

from pipeline.cli import run_spec
from pipeline.spec import Spec


def main(spec: Spec) -> None:
    from pipeline.training.offset_spread import measure_offsets

    measure_offsets(spec)


if __name__ == "__main__":
    run_spec(main, __doc__)
