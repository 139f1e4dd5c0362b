"""Runs one job of the stand-in as slurmd would: states, and SIGTERM with a requeue where the job is to be pre-empted.

A file `preempt` in the folder holds a rule's name: the first job whose script names it gets SIGTERM as soon as the file
`<folder>/ready` is there, in its first process only; what is left after `GRACE` is killed, and it runs again.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

GRACE = 1.0  # seconds, minutes in the real one

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
        process.terminate()
        time.sleep(GRACE)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        write("PREEMPTED")
        process = start()
write("COMPLETED" if process.wait() == 0 else "FAILED")
