"""Stages that need no torch do not import it: a start of Python with torch costs seconds."""

import subprocess
import sys

import pytest

from pipeline import paths

LIGHT = [
    "synthesize",
    "verify",
    "statistics",
    "evaluate",
    "table",
    "figures",
    "gallery",
    "page",
    "index",
    "catalogue",
    "code",
    "compare",
    "dst_figures",
    "loss_share",
]


@pytest.mark.parametrize("stage", LIGHT)
def test_a_light_stage_imports_no_torch(stage):
    text = f"import sys, pipeline.stages.{stage}; print('torch' in sys.modules or 'torchvision' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], cwd=paths.ROOT, text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


def test_the_workflow_imports_no_torch():
    text = "import sys, pipeline.graph.build, pipeline.code_digest, pipeline.config; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", text], cwd=paths.ROOT, text=True, capture_output=True).stdout == "False\n"
    )
