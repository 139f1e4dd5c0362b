"""Runs one job of the stand-in as slurmd would: states, and SIGTERM with a requeue where the job is to be pre-empted.

A file `preempt` in the folder holds a rule's name: the first job whose script names it gets SIGTERM as soon as the file
`<folder>/ready` is there, in the processes that slurmd itself started for its last step and in no other; what is left
after `GRACE` is killed, and it runs again.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

GRACE = 120.0  # seconds, far more than is needed, so that a loaded machine fails no test

folder, number = pathlib.Path(sys.argv[1]), sys.argv[2]
state = folder / f"{number}.state"
script = folder / f"{number}.script"


def write(text):
    temporary = state.with_suffix(".new")
    temporary.write_text(text)
    os.replace(temporary, state)


def start():
    write("RUNNING")
    return subprocess.Popen(["sh", script], start_new_session=True, stdin=subprocess.DEVNULL)


process = start()
order = folder / "preempt"
if order.exists() and f"'{order.read_text().strip()}:" in script.read_text():
    order.unlink()
    while process.poll() is None and not (folder / "ready").exists():
        time.sleep(0.02)
    if process.poll() is None:
        (folder / "signalled").write_text(number)
        for task in (folder / f"{number}.tasks").read_text().split():
            os.kill(int(task), signal.SIGTERM)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            (folder / "killed").write_text(number)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        write("PREEMPTED")
        process = start()
write("COMPLETED" if process.wait() == 0 else "FAILED")
