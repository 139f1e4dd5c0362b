"""Compile the C++ kernel for this machine's processor: one file that needs neither torch's nor Python's headers."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

import torch

from pipeline.errors import InputError
from pipeline.paths import ROOT

COMPILER = "g++"
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-fvisibility=hidden")
SOURCES = sorted(path for path in Path(__file__).parent.iterdir() if path.suffix in (".cpp", ".h"))
FOLDER = ROOT / "build/native"


def library_path(flags: tuple[str, ...] = FLAGS, folder: Path = FOLDER) -> Path:
    """Return where the kernel of these sources stands for this processor, built or not."""
    sources = b"".join(path.read_bytes() for path in SOURCES)
    key = hashlib.sha256(sources + repr((flags, instructions())).encode()).hexdigest()[:16]
    return folder / f"psconv-{key}.so"


def instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return what tells processors apart for which `-march=native` compiles: a kernel for another one may crash."""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    found = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return "\n".join(sorted(set(found))) or f"{platform.machine()} {platform.processor()}"


def build(flags: tuple[str, ...] = FLAGS, folder: Path = FOLDER) -> Path:
    """Compile the kernel unless it stands there already, and return its path.

    Raises:
        InputError: no compiler, or one that fails.
    """
    target = library_path(flags, folder)
    if target.exists():
        return target
    if shutil.which(COMPILER) is None:
        raise InputError(f"{COMPILER} is not on the PATH, and builds the kernel; install GCC, or go on without it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_suffix(f".{os.getpid()}")
    # torch brings its own OpenMP: with another one beside it, twice the threads would wait for work.
    libraries = Path(torch.__file__).parent / "lib"
    sources = [str(path) for path in SOURCES if path.suffix == ".cpp"]
    command = [COMPILER, *flags, *sources, "-o", str(new), f"-L{libraries}", f"-Wl,-rpath,{libraries}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{COMPILER} cannot compile the kernel; go on without it. It says: {done.stderr[-2000:]}")
    new.replace(target)
    return target


def remove() -> None:
    """Delete all built kernels."""
    shutil.rmtree(FOLDER, ignore_errors=True)
