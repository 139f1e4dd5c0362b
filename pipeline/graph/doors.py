"""Calls of DVC and Snakemake by their command lines, with this Python's own folder first in the path."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

from pipeline import paths
from pipeline.errors import InputError
from pipeline.files import read_yaml
from pipeline.graph import stand_ins

MARK = "SCALEWISE_BUILD"  # names the build that a process belongs to, so that a killed build's remains are found

# The C library keeps what a stage frees: a pyramid's test otherwise spends a quarter of its time on fresh pages.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_TOP_PAD_": "67108864"}


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of both tools: `python`, `dvc` and `snakemake` are this environment's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return MEMORY | os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1"} | extra


def dvc(*arguments: str) -> str:
    """Run `dvc --wait-for-lock ...` and return what it prints. Raises InputError with its last line where it fails."""
    return called("dvc", "--wait-for-lock", *arguments)


def snakemake(*arguments: str) -> str:
    """Run `snakemake ...` and return what it prints besides messages. Raises InputError where it fails."""
    return called("snakemake", *arguments)


def called(tool: str, *arguments: str) -> str:
    command = [sys.executable, "-m", tool, *arguments]
    done = subprocess.run(command, cwd=paths.ROOT, env=environment(), text=True, capture_output=True)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        shown = "\n  ".join(lines[-20:])
        raise InputError(f"`{tool} {' '.join(arguments)}` ended with code {done.returncode}:\n  {shown}")
    return done.stdout


def status(*addresses: str) -> dict[str, list]:
    """Return DVC's reasons for every stage out of date, among some stages and all that they need."""
    text = dvc("status", "--json", "--with-deps", *addresses)
    return json.loads(text[text.index("{") :]) if "{" in text else {}


def summary(*targets: str) -> list[dict[str, str]]:
    """Return Snakemake's table of files and of all that they need, by column: `output_file`, `rule`, `plan`, ..."""
    return list(csv.DictReader(snakemake("--summary", "--", *targets).splitlines(), delimiter="\t"))


def nothing_to_do(*targets: str) -> bool:
    """Whether Snakemake plans to update none of some files, nor of what they need."""
    return all(row["plan"] == "no update" for row in summary(*targets))


def touch(*targets: str) -> None:
    """Make Snakemake's records of files, and of all that they need, agree with the files; missing ones stay missing."""
    snakemake("--touch", "--forceall", "--cores", "1", *targets)


def repair() -> list[str]:
    """Undo what a killed run can leave behind, and return a sentence for each thing done.

    DVC does not write dvc.lock atomically: an interrupt can leave an empty or torn one, with which DVC refuses the
    whole graph. Without it DVC restores results from its run cache. Processes of a build that was killed are ended, and
    Snakemake's lock of the folder is taken away where no Snakemake runs.

    Raises:
        InputError: another build, or a Snakemake started by hand, is running in this folder.
    """
    done = end_orphans() + stand_ins.finish()
    for path in [paths.ROOT / "dvc.lock", *sorted(paths.ROOT.glob("workflow/**/dvc.lock"))]:
        if path.is_file() and torn(path):
            path.unlink()
            done.append(f"removed {path.relative_to(paths.ROOT)}, torn by a killed run; DVC's run cache restores it")
    if any((paths.ROOT / ".snakemake/locks").glob("*")):
        snakemake("--unlock")
        done.append("unlocked Snakemake after a killed run")
    return done


def torn(lock: Path) -> bool:
    """Whether a dvc.lock is not what DVC writes."""
    try:
        content = read_yaml(lock)
    except InputError:
        return True
    return not isinstance(content, dict) or "schema" not in content


def end_orphans() -> list[str]:
    """End what is left of killed builds of this folder; raise InputError where a live build is running."""
    import psutil

    done = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(MARK, "")
            by_hand = Path(process.cwd()) == paths.ROOT and any("snakemake" in a for a in process.cmdline()[:3])
        except (psutil.Error, OSError):
            continue
        root, _, builder = mark.rpartition(":")
        if root == str(paths.ROOT) and process.pid != os.getpid():
            if builder == str(os.getpid()) or not builder.isdigit():
                continue
            if psutil.pid_exists(int(builder)):
                raise InputError(f"Another build (process {builder}) is running in this folder; wait for it or end it.")
            done.append(f"ended process {process.pid}, left over from a killed build")
            kill(process)
        elif by_hand and process.pid not in (os.getpid(), os.getppid()):
            raise InputError(f"Snakemake (process {process.pid}) is running in this folder; wait for it or end it.")
    return done


def kill(process) -> None:
    """Kill one process and wait until it is gone."""
    import psutil

    try:
        process.kill()
        process.wait(10)
    except psutil.Error:
        pass
