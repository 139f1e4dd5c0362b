"""Derive DST's threshold from a baseline: `python -m pipeline.stages.loss_share EXPERIMENT --preset PRESET`."""

from pipeline.cli import run_spec
from pipeline.spec import Spec


def main(spec: Spec) -> None:
    from pipeline.analysis.loss_share import write_shares

    write_shares(spec.preset.name, spec.name)


if __name__ == "__main__":
    run_spec(main, __doc__)
