"""Scripts in processes of their own, which find the package and the tests' helpers and use one thread each."""

import os
import subprocess
import sys
from pathlib import Path

from pipeline import paths

HERE = Path(__file__).resolve().parent
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(map(str, (paths.ROOT, HERE.parent, HERE))),
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


def start(script: str) -> subprocess.Popen:
    """Start a script in the current folder and do not wait for it."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-c", script], env=os.environ | ENVIRONMENT, **quiet)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in the current folder."""
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=120)


def run_two(folder: Path, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script, written into a folder, in two processes that talk through Gloo."""
    file = folder / "two_processes.py"
    file.write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(file)]
    everything = os.environ | ENVIRONMENT | environment
    return subprocess.run([*command, *arguments], env=everything, capture_output=True, text=True, timeout=280)
