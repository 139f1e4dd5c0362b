"""Stages that start themselves again under torchrun."""

import os
import sys

import pytest
import torch

from pipeline import launch
from pipeline.errors import InputError


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list:
    """Return what would have replaced the process."""
    found: list = []
    monkeypatch.setattr(os, "execvp", lambda path, command: found.append((path, command)))
    monkeypatch.setattr(sys, "argv", ["train.py", "dst_frcnn_r50_fpn_1x", "--preset", "full"])
    for name in (launch.VARIABLE, launch.HERE, "SCALEWISE_NODES", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.mark.parametrize(("value", "world"), [("", None), ("1", None), (" 1 ", None), ("8", "8")])
def test_one_process_stays_as_it_is_and_one_of_torchrun_starts_no_others(started, monkeypatch, value, world):
    monkeypatch.setenv(launch.VARIABLE, value)
    if world:
        monkeypatch.setenv("WORLD_SIZE", world)
    launch.spread("pipeline.stages.train")
    assert started == []


def test_several_processes_are_started_by_torchrun_with_the_same_arguments(started, monkeypatch):
    monkeypatch.setenv(launch.VARIABLE, "8")
    launch.spread("pipeline.stages.train")
    ((path, command),) = started
    assert path == command[0] == sys.executable
    assert command[1:] == [
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "8"),
        *("-m", "pipeline.stages.train", "dst_frcnn_r50_fpn_1x", "--preset", "full"),
    ]


def test_several_machines_are_a_torchrun_on_every_node_of_the_job(started, monkeypatch):
    monkeypatch.setenv(launch.VARIABLE, "8")
    monkeypatch.setenv("SCALEWISE_NODES", "2")
    with pytest.raises(InputError, match=r"`nodes` .* is 2, but this is no node of a job of SLURM"):
        launch.spread("pipeline.stages.train")
    monkeypatch.setenv(launch.HERE, "gpu07")
    launch.spread("pipeline.stages.train")
    ((path, command),) = started
    place = command.index(sys.executable)
    assert (path, command[:place]) == ("srun", [*launch.SRUN, "--nodes=2", "--ntasks=2"])
    port = command[place + 8].removeprefix("gpu07:")
    assert command[place + 1 :] == [
        *("-m", "torch.distributed.run", "--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"gpu07:{port}"),
        *("--nproc-per-node", "8", "-m", "pipeline.stages.train", "dst_frcnn_r50_fpn_1x", "--preset", "full"),
    ]
    assert int(port) > 1023


def test_what_a_training_asks_a_scheduler_for(monkeypatch):
    monkeypatch.setenv(launch.VARIABLE, "4")
    monkeypatch.delenv("SCALEWISE_NODES", raising=False)
    assert launch.resources() == {"gpu": 4, "nodes": 1}
    assert launch.resources(computes=False) == {"gpu": 0, "nodes": 1}
    monkeypatch.setenv("SCALEWISE_NODES", "2")
    several = launch.resources()
    assert (several["gres"], several["nodes"], several["tasks"], several["mpi"]) == ("gpu:4", 2, 2, "srun")
    assert launch.resources(computes=False).keys() == several.keys()  # one rule of Snakemake's has both
    assert not launch.resources(computes=False)["gres"]


def gpus(monkeypatch: pytest.MonkeyPatch, seen: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: (9, 0))


@pytest.mark.parametrize("seen", [1, 4])
def test_gpus_are_counted(started, monkeypatch, seen):
    gpus(monkeypatch, seen)
    monkeypatch.setenv(launch.VARIABLE, "gpus")
    assert launch.processes() == seen


def test_gpus_without_one_are_refused_instead_of_training_on_the_cpu(started, monkeypatch):
    gpus(monkeypatch, 0)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setenv(launch.VARIABLE, "gpus")
    with pytest.raises(InputError, match="is `gpus`, but PyTorch sees none here: this PyTorch is built without CUDA"):
        launch.spread("pipeline.stages.train")
    assert started == []


def test_more_processes_than_gpus_are_refused_and_processes_on_the_cpu_are_not(started, monkeypatch):
    monkeypatch.setenv(launch.VARIABLE, "8")
    gpus(monkeypatch, 4)
    with pytest.raises(InputError, match="is 8, but PyTorch sees 4 GPUs here; set it to 4 or `gpus`"):
        launch.processes()
    gpus(monkeypatch, 0)
    assert launch.processes() == 8


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "all", "1025", "٣"])
def test_anything_else_is_refused_in_one_sentence(started, monkeypatch, value):
    monkeypatch.setenv(launch.VARIABLE, value)
    with pytest.raises(InputError, match=r"SCALEWISE_PROCESSES\) is .*, but must be `gpus` or a number from 1 to 1024"):
        launch.spread("pipeline.stages.train")
