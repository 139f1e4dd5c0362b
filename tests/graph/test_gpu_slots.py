"""Jobs side by side take GPUs by locking files: each gets its own, and the kernel frees those of a job that died."""

import os
import subprocess
import sys

import pytest

from pipeline import devices, launch, paths
from pipeline.errors import InputError
from pipeline.graph import gpu_slots, job

HOLDER = """
import os, sys, time
from pathlib import Path
from pipeline.graph.gpu_slots import take
held = take(int(sys.argv[2]), Path(sys.argv[1]))
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def four_gpus(tmp_path, monkeypatch):
    """A machine with four GPUs, as far as the driver's files say."""
    for number in range(4):
        (tmp_path / f"nvidia{number}").touch()
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(devices, "NODES", tmp_path)
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", launch.VARIABLE, "SCALEWISE_NODES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def taken(count: int, folder) -> tuple[list[int], list[str]]:
    """Take GPUs as a job does, and return its handles and what CUDA would see."""
    handles = gpu_slots.take(count, folder)
    return handles, os.environ.pop("CUDA_VISIBLE_DEVICES", "").split(",")


def test_each_job_gets_gpus_of_its_own_and_frees_them_at_its_end(tmp_path):
    first, names = taken(1, tmp_path)
    _, more = taken(2, tmp_path)
    assert (names, more) == (["0"], ["1", "2"])
    os.close(first[0])
    assert taken(2, tmp_path)[1] == ["0", "3"]


def test_a_job_waits_until_one_that_was_killed_is_gone(tmp_path, monkeypatch, capsys):
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT), "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    command = [sys.executable, "-c", HOLDER, str(tmp_path), "4"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "0,1,2,3\n"
        monkeypatch.setattr(gpu_slots.time, "sleep", lambda seconds: (holder.kill(), holder.wait()))
        assert taken(1, tmp_path)[1] == ["0"]
    assert capsys.readouterr().err.count("Waiting for 1 of the GPUs 0, 1, 2, 3") == 1


def test_what_is_given_is_shared_and_what_slurm_gave_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-5f, -1")
    assert taken(8, tmp_path)[1] == ["2", "GPU-5f"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_slots.take(1, tmp_path) == []
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert gpu_slots.take(1, tmp_path) == []
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


@pytest.mark.parametrize(("asked", "count"), [(None, 1), ("2", 2), ("gpus", 4)])
def test_a_training_asks_for_as_many_gpus_as_processes(monkeypatch, asked, count):
    if asked:
        monkeypatch.setenv(launch.VARIABLE, asked)
    assert launch.gpus_of_a_training() == count


def test_all_gpus_of_a_machine_without_any_are_refused(monkeypatch):
    monkeypatch.setenv(launch.VARIABLE, "gpus")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(InputError, match="is `gpus`, and there are none here to count"):
        launch.gpus_of_a_training()


def test_bad_input_is_not_tried_again(tmp_path, monkeypatch, capsys):
    log = tmp_path / "a.log"
    log.write_text("training\nerror: batch 16 cannot be shared by 3.\nERROR: failed to reproduce 'a'\n")
    monkeypatch.setattr(sys, "argv", ["job", "a", "--log", str(log), "--attempt", "2"])
    assert job.main() == 2
    assert "a is not tried again: error: batch 16 cannot be shared by 3." in capsys.readouterr().err
    assert "training" in log.read_text()  # which Snakemake shows
    log.write_text("Killed\nERROR: failed to reproduce 'a'\n")
    assert job.lasting(log) is None
