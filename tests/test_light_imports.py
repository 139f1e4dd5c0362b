"""Packages that light stages read import no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline import paths


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("pipeline.data, pipeline.training", "torch"),
        ("pipeline.data.labelled.sets, pipeline.analysis.anchor_match", "torch"),
        ("pipeline.data.scaleworld.scenes, pipeline.data.statistics", "torch"),
        ("pipeline.data.verify, pipeline.data.verification_page", "torch"),
        ("pipeline.evaluation, pipeline.verdicts.rule", "torch pandas"),
    ],
)
def test_what_is_not_imported(modules, heavy):
    code = f"import sys, {modules}; sys.exit(any(name in sys.modules for name in {heavy.split()}))"
    if "evaluation" in modules:  # its names are imported where they are first asked for
        code = f"from pipeline.evaluation import evaluate_detections, bootstrap_ap, scaled_size_ranges; {code}"
    assert subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, check=False).returncode == 0
