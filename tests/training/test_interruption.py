"""A training survives SIGTERM, a full disk, a damaged checkpoint and a worker that dies; each says what happened."""

import os
import signal
from pathlib import Path

import processes
import pytest
import torch
import toy
from torch.utils.data import DataLoader, Dataset

from pipeline.errors import InputError
from pipeline.files import DiskFullError
from pipeline.training import loop
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.distributed import World
from pipeline.training.history import History
from pipeline.training.interruption import Stopped
from pipeline.training.state import TrainingState

pytestmark = pytest.mark.usefixtures("empty_folder")


def train(stop: int | None = None, **training) -> tuple[dict, str, float]:
    """Train the line; return facts, history as text and the weight."""
    facts, history, weight = toy.train(stop, **training)
    return facts, history.csv(), weight


def fill_disk(patch: pytest.MonkeyPatch, *steps: int) -> list[int]:
    """Let the checkpoints after these steps find no space; returns the steps whose checkpoints were tried."""
    tried, original = [], Checkpoints.save

    def full(self: Checkpoints, state: dict) -> None:
        tried.append(state["step"])
        if state["step"] in steps:
            raise DiskFullError(self.last)
        original(self, state)

    patch.setattr(Checkpoints, "save", full)
    return tried


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"ema": 0.9}, {"optimizer": "adamw"}])
def test_resumed_training_equals_an_undisturbed_one(options):
    whole = train(**options)
    Path("scratch").rename("first")
    for stop in (3, 5):
        with pytest.raises(toy.CutError):
            train(stop, **options)
    assert train(**options) == whole


class Counter:
    """Stands for a feeder whose state differs between processes, unless it is `alike`."""

    def __init__(self, alike: bool) -> None:
        self.alike, self.state = alike, {}

    def load_state_dict(self, state: dict) -> None:
        self.state = state


@pytest.mark.parametrize(
    ("written", "size", "rank", "alike", "expected", "told"),
    [
        ([{"n": 1}, {"n": 2}], 2, 1, False, {"n": 2}, 0),
        ([{"n": 1}, {"n": 2}], 1, 0, False, {"n": 1}, 1),
        ([{"n": 1}, {"n": 2}], 4, 3, False, {"n": 1}, 0),  # the first process says so
        ([{"n": 1}], 2, 0, False, {"n": 1}, 1),
        ([{"n": 1}], 2, 1, True, {"n": 1}, 0),
        ([{}, {}], 3, 0, False, {}, 0),
    ],
)
def test_another_number_of_processes_goes_on(capsys, written, size, rank, alike, expected, told):
    with pytest.raises(toy.CutError):
        train(stop=3)
    checkpoints = Checkpoints(Path("scratch"))
    checkpoints.save(checkpoints.load() | {"feeders": written, "scaler": {"scale": 2.0}})  # of fp16, too
    model, feeder = toy.line(), Counter(alike)
    optimizer, scaler = torch.optim.SGD(model.parameters(), 0.1), torch.amp.GradScaler("cpu", enabled=False)
    state = TrainingState(model, optimizer, scaler, History(8, 100), feeder, None, World(rank, size))
    optimizer.load_state_dict = lambda state: None  # of other groups of parameters
    assert state.restore(checkpoints) == (2, 0)
    assert feeder.state == expected
    assert capsys.readouterr().err.count("all go on from what the first one was to be fed") == told


def test_full_disk_is_said_counted_and_survived(monkeypatch, capsys):
    whole = train()
    Path("scratch").rename("first")
    tried = fill_disk(monkeypatch, 4, 6)
    facts, history, weight = train()
    assert tried == [2, 4, 6, 8]
    assert facts == whole[0] | {"checkpoints_failed": 2}
    assert (history, weight) == whole[1:]
    told = capsys.readouterr().err
    assert "No checkpoint after step 4: There is no space left to write scratch/last.pt; free some" in told
    assert "a kill costs the steps since the checkpoint before" in told


def test_a_kill_after_a_full_disk_goes_on_from_the_checkpoint_before(monkeypatch):
    whole = train()
    Path("scratch").rename("first")
    with monkeypatch.context() as patch:
        fill_disk(patch, 4)
        with pytest.raises(toy.CutError):
            train(stop=5)
    assert Checkpoints(Path("scratch")).load()["step"] == 2
    assert train() == whole


def test_the_clock_asks_for_checkpoints_too(monkeypatch):
    whole = train()
    Path("scratch").rename("first")
    tried = fill_disk(monkeypatch)
    now = iter(range(0, 10_000, 250))  # seconds: a step lasts 250
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(now))
    assert train(checkpoint_rows=1) == whole
    assert tried == [3, 6, 8]  # ten minutes after the start and after the checkpoint before, and at the end


@pytest.mark.parametrize("damage", ["cut", "flip", "both"])
def test_damaged_checkpoints_cost_steps_and_nothing_else(capsys, damage):
    whole = train()
    Path("scratch").rename("first")
    with pytest.raises(toy.CutError):
        train(stop=7)
    last, previous = Path("scratch/last.pt"), Path("scratch/previous.pt")
    data = last.read_bytes()
    last.write_bytes(data[:-100] if damage == "cut" else bytes([data[0] ^ 4]) + data[1:])
    if damage == "both":
        previous.write_bytes(b"")
    assert train() == whole
    assert capsys.readouterr().err.count("is unreadable") == (2 if damage == "both" else 1)


def test_sigterm_ends_with_its_exit_code():
    done = processes.run(
        "import os, signal\n"
        "import toy\n"
        "from pipeline.cli import run\n"
        "model = toy.line()\n"
        "mean = toy.Mean(model, lambda number: [1.0])\n"
        "def step_loss(number):\n"
        "    if number == 2:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return mean(number)\n"
        "run(lambda options: toy.run(toy.spec(), step_loss, model, 6), 'test', arguments=['--preset', 'tiny'])\n"
    )
    assert done.returncode == 143, done.stderr
    assert "dst_frcnn_r50_fpn_1x: stopped after step 3 of 6; the next start goes on from it." in done.stderr
    assert "Traceback" not in done.stderr
    assert Checkpoints(Path("scratch")).load()["step"] == 3


class Deadly(Dataset):
    """Numbers, one of which kills the process that loads it."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number

    def __getitem__(self, number: int) -> torch.Tensor:
        if number == 5:
            os.kill(os.getpid(), self.signal_number)
        return torch.tensor([[1.0 + number]])


def train_with_worker(signal_number: int, preempted: int | None = None) -> None:
    """Train from a worker that gets a signal; the training itself gets SIGTERM within step `preempted`."""
    model = toy.line()
    loader = DataLoader(Deadly(signal_number), batch_size=None, sampler=range(8), num_workers=1, prefetch_factor=1)
    loader = iter(loader)

    def step_loss(number: int):
        if number == preempted:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"loss": model(next(loader)).mean()}, {}

    try:
        toy.run(toy.spec(lr=0.125, checkpoint_rows=4), step_loss, model, 8)
    finally:
        loader._shutdown_workers()  # else its end would be noticed within the next test


def test_a_worker_that_dies_names_cause_and_remedy():
    with pytest.raises(InputError) as error:
        train_with_worker(signal.SIGKILL)
    sentence = str(error.value)
    assert sentence.startswith("dst_frcnn_r50_fpn_1x: DataLoader worker (pid")
    # Whichever PyTorch sees first: the signal, or that no data come.
    assert "is killed by signal: Killed" in sentence or "exited unexpectedly" in sentence
    assert sentence.endswith(
        "; most often its machine ran out of memory: set fewer `workers` of the machine (params.yaml) or give the job "
        "more memory, and the next start goes on from the last checkpoint."
    )
    assert "\n" not in sentence
    assert Checkpoints(Path("scratch")).load()["step"] in (2, 4)  # the checkpoint survives


def test_a_cluster_that_ends_workers_too_is_a_stop():
    with pytest.raises(Stopped, match="stopped after step 5 of 8") as error:
        train_with_worker(signal.SIGTERM, 4)
    assert error.value.code == 143
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL  # a worker's death must not disturb the end either
    assert Checkpoints(Path("scratch")).load()["step"] == 5


def test_a_worker_that_is_ended_while_the_step_waits_for_it_is_a_stop():
    with pytest.raises(Stopped, match="stopped together with its workers; the next start goes on from the last"):
        train_with_worker(signal.SIGKILL, 5)
    assert Checkpoints(Path("scratch")).load()["step"] == 4


def test_a_full_gpu_names_batch_accumulate_and_processes():
    def fail(number: int):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    with pytest.raises(InputError) as error:
        toy.run(toy.spec(accumulate=2), fail, toy.line(), 1)
    assert str(error.value).startswith(
        "dst_frcnn_r50_fpn_1x: the GPU's memory is full (CUDA out of memory) with batch 2 over 1 process and "
        "accumulate 2; use more processes, which keeps the checkpoint, or halve the preset's training.batch and double"
    )


def test_other_errors_stay_what_they_are(monkeypatch):
    def fail(error: Exception):
        raise error

    with pytest.raises(RuntimeError, match=r"^size mismatch$"):
        toy.run(toy.spec(), lambda number: fail(RuntimeError("size mismatch")), toy.line(), 1)
    monkeypatch.setattr(Checkpoints, "save", lambda self, state: fail(PermissionError(13, "no")))
    with pytest.raises(PermissionError):
        train()
