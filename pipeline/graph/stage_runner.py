"""Run stages of a checkout one after another, each in a forked process: `python stage_runner.py FOLDER < plan`.

The plan is a list of [address, command] as JSON. What comes out is a line of JSON a stage: `address`, `seconds` and
`failure`, null where it ran through. Nothing of the project is imported, so one text runs the stages of any revision.
"""

import json
import multiprocessing
import os
import runpy
import shlex
import sys
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any


def run_stages(plan: list[list[str]]) -> None:
    """Run all stages in this folder and print a line for each."""
    import torch
    import torchvision  # noqa: F401  loaded once for all children

    torch.set_num_threads(1)
    for address, command in plan:
        begin = time.perf_counter()
        failure = in_child(lambda command=command: run_stage(command))
        line = {"address": address, "seconds": round(time.perf_counter() - begin, 2), "failure": failure}
        print(json.dumps(line), flush=True)


def run_stage(command: str) -> None:
    """Run one stage's script as `python -m` would. Raises RuntimeError where it ends with another code than 0."""
    sys.argv = shlex.split(command)[2:]
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"`{command}` ended with code {ended.code}") from ended


def in_child(work: Any, seconds: float = 600.0, log: str = "stage_runner.log") -> str | None:
    """Run something in a forked process and return what it said last where it failed or took too long."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, there, log))
    process.start()
    there.close()
    try:
        said = here.recv() if here.poll(seconds) else f"not done after {seconds:g} s"
    except EOFError:
        said = "its process died"
    process.kill()
    process.join()
    return said


def _child(work: Any, pipe: Any, log: str) -> None:
    with open(log, "a", encoding="utf-8") as output, redirect_stdout(output), redirect_stderr(output):
        try:
            work()
            pipe.send(None)
        except BaseException as error:  # a stage may end in any way, and each is reported
            last = traceback.extract_tb(error.__traceback__)[-1]
            pipe.send(f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})")
            traceback.print_exc()


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    sys.path.insert(0, sys.argv[1])
    run_stages(json.load(sys.stdin))
