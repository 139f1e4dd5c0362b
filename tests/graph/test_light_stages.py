"""What needs no torch does not import it: a start of Python with torch costs seconds."""

import subprocess
import sys

import pytest

from pipeline import paths
from pipeline.reporting import modules

STAGES = ("synthesize", "verify", "statistics", "evaluate", "table", "gallery", "page", "figures", "code", "loss_share")
PAGES = {place.partition(":")[0] for place in (modules.PAGES | modules.FIGURES).values()}
PACKAGES = [
    "pipeline.data, pipeline.training",
    "pipeline.data.labelled.sets, pipeline.analysis.anchor_match",
    "pipeline.data.scaleworld.scenes, pipeline.data.statistics",
    "pipeline.data.verify, pipeline.data.verification_page",
    "pipeline.graph.build, pipeline.code_digest, pipeline.config",
]


def imported(statement: str, *heavy: str) -> bool:
    """Return whether a statement imports one of some modules, in a process of its own."""
    text = f"import sys; {statement}; print(any(name in sys.modules for name in {heavy!r}))"
    done = subprocess.run([sys.executable, "-c", text], cwd=paths.ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout == "True\n"


@pytest.mark.parametrize("names", [*(f"pipeline.stages.{stage}" for stage in STAGES), *sorted(PAGES), *PACKAGES])
def test_light_stages_and_packages_import_no_torch(names):
    assert not imported(f"import {names}", "torch", "torchvision")


def test_public_names_of_evaluation_load_where_they_are_asked_for_and_then_no_torch_either():
    names = "evaluate_detections, bootstrap_ap, scaled_size_ranges"
    assert not imported(f"import pipeline.verdicts.rule; from pipeline.evaluation import {names}", "torch", "pandas")
