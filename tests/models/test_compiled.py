"""A detector whose backbone and pyramid are compiled learns what the plain one does."""

import shutil

import pytest
import torch
from batches import model, pictures, target

INDUCTOR = pytest.param(
    "inductor",
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
    ],
)


@pytest.mark.parametrize("backend", ["aot_eager", INDUCTOR])
def test_losses_and_gradients_are_the_plain_ones(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    images, targets = pictures([(3, 96, 128), (3, 64, 96)]), [target([8.0, 8, 60, 50]), target([0.0, 0, 30, 20])]
    found = []
    for compiled in (False, True):
        detector = model("faster_rcnn").train()
        if compiled:
            detector.backbone.compile(backend=backend)
        torch.manual_seed(1)
        losses = detector(images, targets)
        sum(losses.values()).backward()
        gradients = {n: p.grad for n, p in detector.backbone.named_parameters() if p.grad is not None}
        found.append((losses, gradients, list(detector.state_dict())))
    (plain, wanted, names), (losses, gradients, compiled_names) = found
    assert compiled_names == names  # weights of one serve the other
    for name, loss in plain.items():
        torch.testing.assert_close(losses[name], loss, rtol=1e-4, atol=1e-5)
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-2, atol=1e-4 * gradient.abs().max().item())
