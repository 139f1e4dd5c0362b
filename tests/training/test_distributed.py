"""Two processes that share a batch train as one does: equal gradients, equal weights, one writer."""

import json
import time
from pathlib import Path

import labelled_sets
import processes
import pytest
import torch

from pipeline import paths
from pipeline.training.checkpoint import load_weights
from pipeline.training.classification.pretraining import pretrain
from pipeline.training.distributed import ALONE, joined

GRADIENTS = """
import sys, torch
from torch import nn
from pipeline.training.distributed import joined
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 25, 3))
x, y = torch.randn(8, 3, 5, 5), torch.arange(8) % 3
with joined() as world:
    rows = world.share(range(8))
    wrapped = world.wrap(model)  # gradients are shared as long as it lives
    loss = nn.functional.cross_entropy(wrapped(x[rows]), y[rows])
    loss.backward()
    cpu = torch.device("cpu")
    means = world.means({"loss": loss.item(), "none": None}, cpu)
    assert means["none"] is None
    some = {"both": 1.0 + world.rank, "nan": float("nan") if world.rank else 2.0, "none": 3.0 if world.rank else None}
    some |= {"never": float("nan"), "more": float("inf")} | ({"one": 4.0} if world.rank else {"zero": 5.0})
    wanted = {"both": 1.5, "nan": 2.0, "none": 3.0, "never": None, "more": float("inf"), "one": 4.0, "zero": 5.0}
    assert world.means(some, cpu) == wanted
    total = world.sum(torch.tensor([1.0, float(world.rank)]))
    assert total.tolist() == [2.0, 1.0]
    normaliser = world.normaliser(cpu)
    assert float(normaliser(3 * world.rank)) == 1.5
    assert float(normaliser(0)) == 0.5  # at least one in all
    assert float(normaliser(torch.tensor(0.25), 1e-6)) == 0.25
    flags = [world.any(world.rank == 1, torch.device("cpu")), world.any(False, torch.device("cpu"))]
    buffers = nn.BatchNorm2d(2)
    buffers.running_mean.fill_(world.rank + 5)
    world.share_buffers(buffers)
    if world.main:
        torch.save({"gradients": [p.grad for p in model.parameters()], "means": means["loss"], "flags": flags,
                    "agreed": world.agreed("main"), "buffer": buffers.running_mean.tolist(), "size": world.size},
                   sys.argv[1])
    else:
        assert world.agreed("other") == "main"
"""
TRAINING = """
import labelled_sets
from pipeline.training.classification.pretraining import pretrain
pretrain(labelled_sets.spec(recipe={"norm": "frozen"}, precision="fp32"))
"""


def test_gradients_are_those_of_the_whole_batch(tmp_path):
    out = tmp_path / "out.pt"
    done = processes.run_two(tmp_path, GRADIENTS, str(out))
    assert done.returncode == 0, done.stderr
    found = torch.load(out, weights_only=True)
    assert found["size"] == 2
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 25, 3)
    )
    x, y = torch.randn(8, 3, 5, 5), torch.arange(8) % 3
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    for gradient, parameter in zip(found["gradients"], model.parameters(), strict=True):
        assert torch.allclose(gradient, parameter.grad, atol=1e-6)
    assert found["means"] == pytest.approx(loss.item(), abs=1e-6)
    assert found["flags"] == [True, False]
    assert (found["agreed"], found["buffer"]) == ("main", [5.0, 5.0])


@pytest.mark.slow
def test_a_classifier_trained_by_two_processes_equals_one(empty_folder):
    labelled_sets.make_folders(empty_folder / "images")
    spec = labelled_sets.spec(recipe={"norm": "frozen"}, precision="fp32")
    pretrain(spec)
    one, _ = load_weights(paths.init("tiny", spec.name))
    losses = paths.history("tiny", spec.name).read_text().splitlines()
    summary = json.loads(paths.training_summary("tiny", spec.name).read_bytes())
    done = processes.run_two(empty_folder, TRAINING)
    assert done.returncode == 0, done.stderr
    two, _ = load_weights(paths.init("tiny", spec.name))
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    for row, other in zip(losses[1:], paths.history("tiny", spec.name).read_text().splitlines()[1:], strict=True):
        assert float(row.split(",")[1]) == pytest.approx(float(other.split(",")[1]), abs=1e-4)
    both = json.loads(paths.training_summary("tiny", spec.name).read_bytes())
    assert (summary["processes"], both["processes"]) == (1, 2)
    assert both["top1_error_last"] == summary["top1_error_last"]
    assert not list(Path("data/scratch").glob("*"))


FAILING = """
import sys, time
import torch
import torch.distributed as dist
from pipeline.errors import InputError
from pipeline.training.distributed import joined
dist.destroy_process_group = lambda: time.sleep(600)  # as NCCL does while others wait in a collective
with joined() as world:
    if world.rank == 1:
        print("failed at", time.monotonic(), flush=True)  # one clock for all processes
        raise (RuntimeError("the card fell out") if sys.argv[1] == "fault" else InputError("batch 3 is odd"))
    world.wait()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "said"), [("fault", "RuntimeError: the card fell out"), ("input", "error: batch 3 is odd")]
)
def test_a_process_that_fails_alone_says_why_and_ends_all(tmp_path, kind, said):
    done = processes.run_two(tmp_path, FAILING, kind)
    assert time.monotonic() - float(done.stdout.split()[-1]) < 60
    assert done.returncode != 0
    assert said in done.stderr
    assert ("raise (RuntimeError" in done.stderr) == (kind == "fault")  # the traceback's line of code


def test_one_process_needs_no_communication(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as world:
        assert world is ALONE
    assert world.share([4, 5, 6]) == [4, 5, 6]
    assert world.means({"a": 1.5, "b": None}, torch.device("cpu")) == {"a": 1.5, "b": None}
    model = torch.nn.Linear(1, 1)
    assert world.wrap(model) is model
    assert world.agreed("fp32") == "fp32"
