"""Write a network as ONNX: `python -m pipeline.stages.export EXPERIMENT --preset PRESET`.

A whole classifier, or a detector's backbone and neck, is written to data/runs/<preset>/<experiment>/backbone.onnx.
"""

from pipeline.cli import run_spec
from pipeline.spec import Spec


def main(spec: Spec) -> None:
    from pipeline.prediction.deploy import export_experiment

    export_experiment(spec)


if __name__ == "__main__":
    run_spec(main, __doc__)
