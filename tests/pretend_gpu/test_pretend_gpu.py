"""A training, its resumption and its prediction on the pretended GPU, in a process of its own."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "training")]
import device  # noqa: E402
import processes  # noqa: E402

pytestmark = pytest.mark.skipif(not device.has_compiler(), reason="no C++ compiler is at hand")

RULES = """
import device, torch
device.install()
x = torch.arange(4.0, device="cuda")
assert x.device == torch.device("cuda:0")
try:
    x + torch.ones(4)
except RuntimeError as error:
    assert "same device" in str(error), error
else:
    raise AssertionError("tensors of two devices were added")
later, event = x.to("cpu", non_blocking=True), torch.cuda.Event()
event.record()
assert later.isnan().all()
assert not event.query()
with device.counted() as waits:
    assert x.sum().item() == 6
assert [kind for kind, *_ in waits] == ["wait"], waits
assert later.tolist() == [0, 1, 2, 3]
assert event.query()
"""

TRAINING = """
import device, os, sys
os.environ["SCALEWISE_WORKERS"] = "0"
device.install()
import tiny, torch
from pipeline.training import loop
from pipeline.training.detection import train_detector
from pipeline.prediction.detector import predict
torch.set_num_threads(1)
spec = tiny.spec(sys.argv[1], steps=4, checkpoint_rows=2)
starts, rate = [], loop.learning_rate
def killing(step, *rest):  # is called once a step
    starts.append(step)
    if len(starts) == 4:
        raise KeyboardInterrupt
    return rate(step, *rest)
loop.learning_rate = killing
try:
    train_detector(spec)
except KeyboardInterrupt:
    train_detector(spec)
assert starts == [0, 1, 2, 3, 2, 3], starts
predict(spec, "single")
assert not device.problems, device.problems
"""


def run(script: str, *arguments: str):
    """Run a script that sees this folder."""
    return processes.run(f"import sys; sys.path.insert(0, {str(HERE)!r})\n{script}", *arguments)


def test_it_keeps_cuda_s_rules(empty_folder):
    done = run(RULES)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("experiment", ["dst_frcnn_r50_fpn_1x_dst", "msfm_retinanet_r50_fpn_1x"])
def test_a_detector_trains_goes_on_and_detects(tiny_project, experiment):
    done = run(TRAINING, experiment)
    assert done.returncode == 0, done.stderr
    assert "on Pretended GPU (80 GiB), fp32, 1 process, data-loading workers" in done.stderr
