"""Calls of DVC and Snakemake by their command lines, with this Python's own folder first in the path."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

from pipeline import paths
from pipeline.errors import InputError
from pipeline.graph.disk import full_disk
from pipeline.graph.one_build import MARK, end_own

# The C library keeps what a stage frees: a pyramid's test otherwise spends a quarter of its time on fresh pages.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_TOP_PAD_": "67108864"}


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of both tools, marked as this process's; their `python` is this environment's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    own = {"PATH": path, "PYTHONUNBUFFERED": "1", MARK: f"{paths.ROOT}:{os.getpid()}"}
    return MEMORY | writable_caches() | os.environ | own | extra


def writable_caches() -> dict[str, str]:
    """Keep the caches of tools in this folder where the user's home cannot be written: Snakemake needs one."""
    place = Path(os.path.expanduser("~/.cache"))
    while not place.exists() and place != place.parent:
        place = place.parent
    return {} if os.access(place, os.W_OK) else {"XDG_CACHE_HOME": str(paths.ROOT / ".snakemake/caches")}


def dvc(*arguments: str) -> str:
    """Run `dvc --wait-for-lock ...` and return what it prints. Raises InputError with its last line where it fails."""
    return called("dvc", "--wait-for-lock", *arguments)


def snakemake(*arguments: str) -> str:
    """Run `snakemake ...` and return what it prints besides messages. Raises InputError where it fails."""
    return called("snakemake", *arguments)


def called(tool: str, *arguments: str) -> str:
    """Run a tool out of a terminal's reach: Ctrl-C ends it in an orderly way, from here."""
    command = [sys.executable, "-m", tool, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=paths.ROOT, env=environment(), start_new_session=True, **pipes)
    try:
        out, err = process.communicate()
    except BaseException:
        end_own()
        raise
    if process.returncode:
        if said := full_disk(out, err):
            raise InputError(said)
        lines = [line for line in (out + err).splitlines() if line.strip()]
        shown = "\n  ".join(lines[-20:])
        raise InputError(f"`{tool} {' '.join(arguments)}` ended with code {process.returncode}:\n  {shown}")
    return out


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
