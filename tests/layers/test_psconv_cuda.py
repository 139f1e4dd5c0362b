"""PSConv on CUDA: the fused kernel in Triton's interpreter, its compilation, and the choice among ways."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from pipeline.layers import PSConv2d, psconv_cuda
from pipeline.layers.psconv_cuda import CudaConv
from pipeline.layers.psconv_grouped import masked_conv2d
from pipeline.layers.psconv_lattice import Lattice, make_plan

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own: Triton reads TRITON_INTERPRET when it is imported. bfloat16 is left out, which the
# interpreter multiplies as if it were integers.
INTERPRETED = """
import sys, torch
from pipeline.layers.psconv_lattice import Lattice, make_plan
from pipeline.layers.psconv_grouped import masked_conv2d
from pipeline.layers.psconv_triton import TritonConv

torch.manual_seed(0)
half, single = torch.float16, torch.float32
for sizes, pattern, axes, layout, stride, size, dtype, batch in [
    ((8, 8, 1), (1, 2, 1, 4), "both", "block", 1, 3, single, 2),
    ((16, 8, 2), (1, 2, 1, 4), "both", "interleaved", 2, 3, single, 1),
    ((4, 6, 1), (1, 2, 4), "output", "block", 1, 3, single, 1),
    ((4, 6, 1), (1, 4), "input", "interleaved", 2, 3, half, 1),
    ((40, 36, 1), (1, 2), "both", "block", 1, 1, single, 1),
    ((8, 8, 1), (1, 2), "both", "block", 1, 3, single, 0),
]:
    lattice = Lattice(*sizes, pattern, axes, layout)
    plan = make_plan(lattice)
    x = torch.randn(batch, sizes[0], 5, 4, dtype=dtype, requires_grad=True)
    weight = (torch.randn(sizes[1], sizes[0] // sizes[2], size, size) / 8).to(dtype).requires_grad_()
    y = TritonConv(plan, lattice.block_table(plan), stride)(x, weight)
    wide = x.double(), weight.double()
    expected = masked_conv2d(*wide, lattice.masks(), lattice.distinct(), stride, sizes[2])
    cotangent = torch.randn_like(y)
    got = (y, *torch.autograd.grad(y, (x, weight), cotangent))
    wanted = (expected, *torch.autograd.grad(expected, wide, cotangent.double()))
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-5 if dtype is single else 5e-3, rtol=1e-5)
    print(sizes, pattern, axes, layout, "ok")
"""


@pytest.mark.slow
def test_fused_kernel_equals_the_masked_sum_in_the_interpreter():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True, timeout=600, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("ok") == 6


def test_triton_is_not_imported_on_the_cpu():
    code = (
        "import sys, torch; from pipeline.layers import PSConv2d; PSConv2d(32, 32)(torch.zeros(1, 32, 3, 3));"
        "assert 'pipeline.layers.psconv_triton' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert run.returncode == 0, run.stderr


@pytest.fixture
def chooser(monkeypatch):
    """A chooser on CPU tensors whose ways take the milliseconds written here."""
    lattice = Lattice(8, 8, 1, (1, 2, 1, 4), "both", "block")
    conv = CudaConv(lattice, make_plan(lattice), 1)
    conv.milliseconds = {"grouped": 3.0, "masked": 2.0, "fused": 1.0}
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    ways = conv.ways()
    ways["fused"] = lambda x, w: ways["grouped"](x, w)

    def milliseconds(way, x, weight):
        return next(conv.milliseconds[name] for name, other in ways.items() if other is way)

    monkeypatch.setattr(psconv_cuda, "_milliseconds", milliseconds)
    return conv


def test_the_fastest_way_is_measured_once_a_size_and_remembered(chooser):
    x, weight = torch.randn(1, 8, 5, 5), torch.randn(8, 8, 3, 3)
    masks = chooser.lattice.masks()
    expected = masked_conv2d(x, weight, masks, (1, 2, 4), 1, 1)
    torch.testing.assert_close(chooser(x, weight), expected, atol=1e-5, rtol=1e-5)
    chooser.milliseconds["masked"] = 0.5
    torch.testing.assert_close(chooser(x, weight), expected, atol=1e-5, rtol=1e-5)
    chooser(torch.randn(1, 8, 4, 7), weight)  # of about as many pixels
    assert list(chooser.choices.values()) == ["fused"]
    chooser(torch.randn(2, 8, 5, 5), weight)
    assert list(chooser.choices.values()) == ["fused", "masked"]


def test_a_prediction_leaves_masks_that_a_training_can_use(chooser):
    weight = torch.randn(8, 8, 3, 3, requires_grad=True)
    with torch.inference_mode():
        chooser.ways()["masked"](torch.randn(1, 8, 5, 5), weight)
    chooser.ways()["masked"](torch.randn(1, 8, 5, 5), weight).sum().backward()
    assert weight.grad.isfinite().all()


def test_a_way_that_fails_is_dropped_with_a_warning(chooser, monkeypatch):
    def milliseconds(way, x, weight):
        if way is not chooser.ways()["grouped"]:
            raise RuntimeError("no such kernel")
        return 1.0

    monkeypatch.setattr(psconv_cuda, "_milliseconds", milliseconds)
    with pytest.warns(UserWarning, match="no such kernel") as warned:
        chooser(torch.randn(1, 8, 5, 5), torch.randn(8, 8, 3, 3))
    told = sorted(str(warning.message) for warning in warned)
    assert told == [f"PSConv2d goes on without its {way} convolution: no such kernel" for way in ("fused", "masked")]
    assert list(chooser.choices.values()) == ["grouped"]


def test_nothing_is_measured_where_results_must_not_depend_on_it(chooser):
    x, weight = torch.randn(1, 8, 5, 5), torch.randn(8, 8, 3, 3)
    torch.use_deterministic_algorithms(True)
    try:
        chooser(x, weight)
    finally:
        torch.use_deterministic_algorithms(False)
    chooser(x.double(), weight.double())
    chooser(x[:0], weight)
    assert not chooser.choices


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is at hand")
@pytest.mark.parametrize("layout", ["block", "interleaved"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_way_agrees_on_cuda(layout, dtype):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = PSConv2d(128, 128, layout=layout, stride=2).cuda().to(dtype)
        x = torch.randn(2, 128, 15, 14, device="cuda", dtype=dtype, requires_grad=True)
        wide = x.double().detach().requires_grad_(), layer.weight.double().detach().requires_grad_()
        masks = layer._lattice.masks().cuda()
        expected = masked_conv2d(*wide, masks, (1, 2, 4), 2, 1)
        cotangent = torch.randn_like(expected)
        wanted = (expected, *torch.autograd.grad(expected, wide, cotangent))
        layer(x)
        for way in layer._on_cuda.ways().values():
            y = way(x, layer.weight)
            got = (y, *torch.autograd.grad(y, (x, layer.weight), cotangent.to(dtype)))
            for one, other in zip(got, wanted, strict=True):
                scale = other.abs().max().item()
                torch.testing.assert_close(one.double(), other, atol=0.02 * scale, rtol=0.02)
