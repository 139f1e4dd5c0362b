"""Measure the weights of PSConv's dilations: `python -m pipeline.stages.weight_share EXPERIMENT --preset PRESET`."""

from pipeline import paths
from pipeline.cli import run_spec
from pipeline.spec import Spec


def main(spec: Spec) -> None:
    from pipeline.analysis.weight_share import share_weights
    from pipeline.reporting.figures.weight_share import draw_weight_share

    figure = paths.figure(spec.preset.name, f"{spec.name}_weight_share")
    draw_weight_share(share_weights(spec), spec.preset.name, figure)


if __name__ == "__main__":
    run_spec(main, __doc__)
