"""A run in which a test is skipped fails, unless it needs a GPU, a browser or photographs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.skipif(True, reason="no CUDA device is at hand")
def test_one():
    pass

def test_two():
    pytest.skip("data/photographs/people is not here: python -m pipeline.stages.fetch --preset people")

@pytest.mark.xfail(reason="known")
def test_three():
    assert False
"""
HERE = Path(__file__).resolve().parent
SENTENCE = "A test was skipped for a reason that tests/skips.py does not have: "


def run(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess:
    (folder / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "skips", "-c", os.devnull, *options, str(folder)]
    environment = os.environ | {"PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)


@pytest.mark.parametrize("options", [(), ("-n", "1")])
def test_reasons_on_the_list_pass_and_others_fail_by_name(tmp_path, options):
    done = run(tmp_path, TESTS, *options)
    assert done.returncode == 0, done.stdout
    assert SENTENCE not in done.stdout
    more = "\ndef test_four():\n    pytest.skip('a neighbour is not there')\n"
    done = run(tmp_path, TESTS + more, *options)
    assert done.returncode == 1
    assert done.stdout.count(f"{SENTENCE}a neighbour is not there") == 1


def test_a_module_without_its_library_fails_too(tmp_path):
    done = run(tmp_path, "import pytest\npytest.importorskip('no_such_library')\ndef test_one():\n    pass\n")
    assert done.returncode == 1
    assert f"{SENTENCE}could not import 'no_such_library'" in done.stdout
