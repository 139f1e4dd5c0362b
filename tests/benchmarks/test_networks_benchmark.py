"""The compared networks are what they are called: scales as printed, layers of each method, plain parameters."""

import pytest
import torch

from pipeline.benchmarks.networks import EXPERIMENTS, network, network_cases
from pipeline.layers import DecomposedConv2d, GlobalScaleConv2d, PSConv2d

LAYERS = {"plain": torch.nn.Conv2d, "psconv": PSConv2d, "fd": DecomposedConv2d, "gsl": GlobalScaleConv2d}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_network_has_its_methods_layers(name):
    body = network(name, preset="mini").body
    assert type(body.get_submodule("layer3.0").conv2) is LAYERS[name]


def test_decomposed_layers_have_the_printed_scales_dilations():
    layer = network("fd", preset="mini").body.get_submodule("layer4.1").conv2
    assert {sub.dilation for sub in layer.sub_convs} == {(2, 3), (3, 4)}  # (2.81, 3.68)


def test_cases_are_a_classifier_both_ways_and_a_detectors_backbone():
    cases = list(network_cases("cpu", quick=False, memory_format=torch.channels_last))
    assert [(case.mode, case.size["height"], case.size["width"]) for case in cases] == [
        ("forward", 224, 224),
        ("train", 224, 224),
        ("forward", 800, 1344),
    ]
    quick = list(network_cases("cpu", quick=True, memory_format=torch.channels_last))
    outputs = {name: call().shape for name, call in quick[0].calls().items()}
    assert outputs == dict.fromkeys(EXPERIMENTS, (1, 1000))


def test_onnx_runtime_computes_the_network_and_profiles_its_convolutions():
    from pipeline.benchmarks.onnx_runtime import OnnxCall, node_times

    events = [
        {"cat": "Node", "name": "a_kernel_time", "dur": 500, "args": {"op_name": "Conv"}},
        {"cat": "Node", "name": "b_kernel_time", "dur": 1500, "args": {"op_name": "Conv"}},
        {"cat": "Node", "name": "a_fence_before", "dur": 9, "args": {"op_name": "Conv"}},
        {"cat": "Session", "name": "model_run", "dur": 9000, "args": {}},
    ]
    assert node_times(events) == [("Conv", 0.4, 0.4)]  # of five runs
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    x = torch.randn(1, 3, 8, 8)
    call = OnnxCall(model, x)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(call()[0]), model(x), rtol=1e-4, atol=1e-5)
    shares = call.shares()
    assert 0 < shares["convolution_ms"] <= shares["ms"]
    assert "Conv" in shares["operators"][0]["name"]
