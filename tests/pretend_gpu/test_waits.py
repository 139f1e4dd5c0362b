"""How often a training step makes the host wait for the GPU, counted on the pretended GPU for every family.

DST's feedback and SNIP's ranges are on. The numbers are the same for one image and for three.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "models"), str(HERE.parent / "training")]
import device  # noqa: E402
import processes  # noqa: E402
from batches import DENSE, ROI_FAMILIES  # noqa: E402

pytestmark = pytest.mark.skipif(not device.has_compiler(), reason="no C++ compiler is at hand")
SEARCHED = os.pathsep.join([str(HERE), str(HERE.parent / "models"), processes.ENVIRONMENT["PYTHONPATH"]])
# To read the losses: 1. To find positives and samples: 1, and 1 more for every later stage of a cascade. To suppress
# proposals: 1. To find anchors inside the image, the positives among the hardest RoIs, the RoIs of the grid head: 1.
WAITS = (
    dict.fromkeys(DENSE, 2)
    | dict.fromkeys(ROI_FAMILIES, 3)
    | {"cascade_rcnn": 5, "cascade_mask_rcnn": 5, "grid_rcnn": 4, "rpn": 3, "region": 3}
)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process that finds this folder and the tests' helpers."""
    environment = os.environ | processes.ENVIRONMENT | {"PYTHONPATH": SEARCHED, "SCALEWISE_WORKERS": "0"}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=500, cwd=folder
    )


def test_a_step_waits_seldom(empty_folder):
    done = run(empty_folder, str(HERE / "steps.py"), *WAITS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {family: found[family] for family in WAITS if found[family] > WAITS[family]} == {}, done.stderr


def test_what_replaces_torchvision_s_parts_equals_them(empty_folder):
    """The paths of a GPU, on the pretended one."""
    file = HERE.parent / "models/test_torchvision_path.py"
    done = run(empty_folder, "-m", "pytest", "-q", "-p", "pretended", "-p", "no:cacheprovider", str(file))
    assert done.returncode == 0, done.stdout
