"""Detect on the validation images: `python -m pipeline.stages.predict EXPERIMENT[__TEST] --preset PRESET`."""

from pipeline.cli import run_spec
from pipeline.spec import Spec


def main(spec: Spec, test: str) -> None:
    from pipeline.prediction.detector import predict

    predict(spec, test)


if __name__ == "__main__":
    run_spec(main, __doc__, name="evaluation")
