"""PSConv's C++ kernel: equal to the definition in every shape and instruction set, absent where it must be."""

import copy
import os
import pickle
import platform
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.layers import PSConv2d
from pipeline.layers.native import build as building
from pipeline.layers.native import convolution, library
from pipeline.layers.native.kernel import Kernel
from pipeline.layers.psconv_grouped import masked_conv2d

pytestmark = pytest.mark.skipif(shutil.which(building.COMPILER) is None, reason="no C++ compiler is at hand")

FOLDER = Path(tempfile.gettempdir()) / f"psconv-native-{os.getuid()}"
FLAGS = {"native": building.FLAGS}
if platform.machine() == "x86_64":
    FLAGS["avx2"] = (*building.FLAGS, "-mno-avx512f")


@pytest.fixture(scope="module", params=FLAGS)
def kernel(request):
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    return Kernel(building.build(FLAGS[request.param], FOLDER))


@pytest.fixture
def used(kernel, monkeypatch):
    """Let layers use the kernel, and count its calls."""
    calls = []
    monkeypatch.setattr(convolution, "load", lambda: calls.append(1) or kernel)
    return calls


def masked(layer, x):
    dilations, masks = layer._distinct, layer._lattice.masks()
    return masked_conv2d(x, layer.weight, masks, dilations, layer.stride[0], layer.groups)


def values(layer, x, function):
    y = function(x)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(y.shape, generator=generator).to(y.dtype)
    return (y, *torch.autograd.grad(y, (x, layer.weight), grad))


def close(found, wanted):
    for got, right in zip(found, wanted, strict=True):
        assert got.shape == right.shape
        scale = max(1.0, right.abs().max().item()) if right.numel() else 1.0
        torch.testing.assert_close(got.double(), right, atol=1e-5 * scale, rtol=1e-5)


@st.composite
def layers(draw):
    dilations = draw(st.sampled_from([(1, 2, 1, 4), (1, 2, 1, 4), (1, 2), (1, 2, 1, 1), (3, 1, 2), (2, 4)]))
    groups = draw(st.sampled_from([1, 1, 2]))
    channels = [16 * len(dilations) * groups * draw(st.integers(1, 3)) for _ in range(2)]
    return {
        "in_channels": channels[0],
        "out_channels": channels[1],
        "kernel_size": draw(st.sampled_from([3, 3, 3, 1, 5])),
        "stride": draw(st.sampled_from([1, 1, 2, 3])),
        "groups": groups,
        "dilations": dilations,
        "axes": draw(st.sampled_from(["both", "both", "input", "output"])),
    }


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    kwargs=layers(),
    batch=st.integers(0, 3),
    height=st.integers(1, 12),
    width=st.integers(1, 31),
    threads=st.sampled_from([1, 2]),
    formats=st.tuples(*[st.sampled_from([torch.contiguous_format, torch.channels_last])] * 2),
)
def test_equals_the_masked_sum(kernel, kwargs, batch, height, width, threads, formats):
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "load", lambda: kernel)
        torch.set_num_threads(threads)
        try:
            layer = PSConv2d(**kwargs).to(memory_format=formats[0])
            assert layer._native.ready(torch.float32)
            x = torch.randn(batch, kwargs["in_channels"], height, width).to(memory_format=formats[1]).requires_grad_()
            found = values(layer, x, layer)
        finally:
            torch.set_num_threads(before)
    wide = copy.deepcopy(layer).double()
    x = x.detach().double().requires_grad_()
    close(found, values(wide, x, lambda x: masked(wide, x)))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kwargs=layers(),
    batch=st.integers(0, 2),
    height=st.integers(1, 9),
    width=st.integers(1, 40),
    threads=st.sampled_from([1, 2]),
)
def test_bfloat16_equals_the_masked_sum(kernel, kwargs, batch, height, width, threads):
    if not kernel.knows(torch.bfloat16):
        return  # a processor without AMX and AVX512-BF16
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "load", lambda: kernel)
        torch.set_num_threads(threads)
        try:
            layer = PSConv2d(**kwargs).bfloat16()
            x = torch.randn(batch, kwargs["in_channels"], height, width).bfloat16().requires_grad_()
            found = values(layer, x, layer)
        finally:
            torch.set_num_threads(before)
    assert all(got.dtype == torch.bfloat16 for got in found)
    wide, x = copy.deepcopy(layer).double(), x.detach().double().requires_grad_()
    for got, right in zip(found, values(wide, x, lambda x: masked(wide, x)), strict=True):
        # One rounding of each result; the output's gradient of the test is rounded as well.
        scale = right.abs().max().item() if right.numel() else 1.0
        torch.testing.assert_close(got.double(), right, atol=0.01 * scale, rtol=0.01)


def test_maps_of_several_bands_and_threads_give_the_same_bits(used):
    layer, x = PSConv2d(64, 64), torch.randn(2, 64, 90, 97, requires_grad=True)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(values(layer, x, layer))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    wide, x = copy.deepcopy(layer).double(), x.detach().double().requires_grad_()
    close(found[0], values(wide, x, lambda x: masked(wide, x)))
    assert used


def test_weights_are_packed_again_when_they_change(used):
    layer, x = PSConv2d(64, 64).to(memory_format=torch.channels_last), torch.randn(1, 64, 6, 5)
    with torch.no_grad():
        for factor in (1.0, 2.0):
            layer.weight.mul_(factor)
            torch.testing.assert_close(layer(x), masked(layer, x), atol=1e-4, rtol=1e-4)
            kept = layer._native.kept._value
            layer(x)
            assert layer._native.kept._value is kept
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other._native.kept._value is None
        torch.testing.assert_close(other(x), masked(layer, x), atol=1e-4, rtol=1e-4)
    layer(x)  # with gradients
    assert layer._native.kept._value is None


def test_second_derivatives_and_single_gradients(used):
    layer, x = PSConv2d(64, 64), torch.randn(1, 64, 4, 5, requires_grad=True)
    for function in (layer, lambda x: masked(layer, x)):
        first = torch.autograd.grad(function(x).square().sum(), (x, layer.weight), create_graph=True)
        second = torch.autograd.grad(first[0].square().sum() + first[1].square().sum(), (x, layer.weight))
        if function is layer:
            found = second
    for got, right in zip(found, second, strict=True):
        torch.testing.assert_close(got, right, atol=1e-4 * right.abs().max().item(), rtol=1e-3)
    layer(x.detach()).sum().backward()
    assert x.grad is None
    layer.requires_grad_(False)
    layer(x).sum().backward()
    assert x.grad is not None


def test_export_compiler_and_transforms_do_not_meet_it(used):
    layer, x = PSConv2d(64, 64).eval(), torch.randn(1, 64, 6, 5)
    expected = masked(layer, x)
    used.clear()
    exported = torch.export.export(layer, (x,))
    found = [
        exported.module()(x),
        torch.compile(layer, backend="eager", fullgraph=True)(x),
        torch.func.vmap(layer)(x[:, None])[:, 0],
    ]
    assert not used
    for got in found:
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected, atol=1e-4, rtol=1e-4)
    assert used


def test_a_profiler_sees_it_and_a_layer_goes_without_it_on_demand(used):
    layer, x = PSConv2d(64, 64), torch.randn(1, 64, 6, 5)
    with torch.profiler.profile(acc_events=True) as profile:
        found = layer(x)
    assert "psconv::convolve" in {event.key for event in profile.key_averages()}
    used.clear()
    torch.testing.assert_close(layer.without_kernel()(x), found, atol=1e-4, rtol=1e-4)
    assert not used


def test_amx_that_is_hidden_from_onednn_is_not_used(kernel, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")
    hidden = Kernel(kernel.path)
    assert hidden.knows(torch.float32)
    assert not hidden.knows(torch.bfloat16)
    assert not kernel.knows(torch.float64)


def test_it_is_proven_and_a_wrong_one_is_refused(kernel, monkeypatch):
    random = torch.get_rng_state()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert library.proven(kernel)
    assert torch.equal(torch.get_rng_state(), random)
    path = building.build(folder=FOLDER)
    monkeypatch.setattr(library, "library_path", lambda: path)
    assert library.load.__wrapped__() is not None
    monkeypatch.setattr(Kernel, "weight_gradient", lambda self, blocks, grad, x: torch.zeros(()))
    with pytest.warns(UserWarning, match="values are wrong"):
        assert library.load.__wrapped__() is None
    monkeypatch.setattr(library, "library_path", lambda: Path(building.SOURCES[0]))
    with pytest.warns(UserWarning, match="cannot be loaded"):
        assert library.load.__wrapped__() is None
    monkeypatch.setattr(library, "library_path", lambda: path.with_name("absent"))
    assert library.load.__wrapped__() is None


def test_another_source_flag_or_processor_is_another_kernel(tmp_path, monkeypatch):
    paths = {building.library_path(), building.library_path((*building.FLAGS, "-O2"))}
    assert {path.suffix for path in building.SOURCES} == {".cpp", ".h"}
    copied = [Path(shutil.copy(path, tmp_path)) for path in building.SOURCES]
    monkeypatch.setattr(building, "SOURCES", copied)
    assert building.library_path() in paths
    for path in copied:
        path.write_text(path.read_text() + "\n")
        paths.add(building.library_path())
    monkeypatch.setattr(building, "instructions", lambda: "another processor")
    paths.add(building.library_path())
    assert len(paths) == 3 + len(copied)


def test_a_missing_or_failing_compiler_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="cannot compile"):
        building.build((*building.FLAGS, "-include", "no such file"), tmp_path)
    monkeypatch.setattr(building, "COMPILER", "no-such-compiler")
    with pytest.raises(InputError, match="no-such-compiler is not on the PATH"):
        building.build(folder=tmp_path)
    assert not list(tmp_path.iterdir())
