"""Score an evaluation by class: `python -m pipeline.stages.per_class EXPERIMENT[__TEST] --preset PRESET`."""

from pipeline.cli import run_spec
from pipeline.own.per_class import score_classes

if __name__ == "__main__":
    run_spec(score_classes, __doc__, name="evaluation")
