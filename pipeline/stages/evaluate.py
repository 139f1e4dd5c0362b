"""Score detections: `python -m pipeline.stages.evaluate EXPERIMENT[__TEST] --preset PRESET`."""

from pipeline.cli import run_spec
from pipeline.evaluation.scoring import score

if __name__ == "__main__":
    run_spec(score, __doc__, name="evaluation")
