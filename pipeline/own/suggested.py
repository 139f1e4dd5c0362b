"""From which score to show a detector's classes: the best F1 on the validation pictures, where it was worked out."""

from __future__ import annotations

from pipeline import paths
from pipeline.errors import reading
from pipeline.files import found_json
from pipeline.spec import Spec


def suggested(preset: str, evaluation: str) -> dict[str, float]:
    """Return the suggested threshold of every class by its name, without those of which nothing was found."""
    path = paths.metrics(preset, paths.per_class_name(evaluation))
    found = found_json(path)
    if found is None:
        return {}
    with reading(path, "run the per_class stage again"):
        names = {str(one["id"]): one["name"] for one in found["categories"]}
        return {names[key]: one["threshold"] for key, one in found["thresholds"].items() if one["f1"] > 0}


def suggested_by_test(spec: Spec) -> dict[str, dict[str, float]]:
    """Return the suggested thresholds of every test of an experiment that has any."""
    every = {
        test: suggested(spec.preset.name, paths.evaluation_name(spec.name, test)) for test in spec.experiment.tests
    }
    return {test: of_class for test, of_class in every.items() if of_class}
