"""ONNX files: static integer dilations only, ONNX Runtime's outputs, the same bytes every time."""

import copy

import onnx
import pytest
import tiny
import torch
from torch import nn
from torchvision.ops import DeformConv2d

from pipeline.layers import DecomposedConv2d, GlobalScaleConv2d, MultiScaleFusion, PSConv2d, decompose
from pipeline.models import build_detector
from pipeline.models.export import deployable, describe, export_onnx, named_outputs, run_onnx

SCALES = {"layer2.0": (0.6, 0.97), "layer3.0": (1.7, 2.9), "layer4.0": (2.02, 3.4)}


def backbone(experiment: str, **scales) -> nn.Module:
    torch.manual_seed(0)
    network = build_detector(tiny.spec(experiment), 6, **scales).backbone
    for module in network.modules():  # as after training: statistics and gains that matter
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network.eval()


def convolutions(path):
    return [
        {attribute.name: list(attribute.ints) or attribute.i for attribute in node.attribute}
        for node in onnx.load(path).graph.node
        if node.op_type == "Conv"
    ]


def assert_same_outputs(network, path, example):
    with torch.inference_mode():
        ours = named_outputs(network(example))
    theirs = run_onnx(path, example)
    assert list(theirs) == list(ours)
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, atol=1e-4, rtol=1e-4)


def test_decomposed_network(tmp_path):
    network, example = backbone("pod_frcnn_r50_fpn_1x_fd", scales=SCALES), torch.randn(2, 3, 64, 96)
    found = export_onnx(network, tmp_path / "fd.onnx", example, {"experiment": "fd"})
    assert_same_outputs(network, tmp_path / "fd.onnx", example)
    assert found["inputs"] == {"images": [2, 3, 64, 96]}
    assert found["outputs"]["0"] == [2, 16, 16, 24]
    assert list(found["outputs"]) == ["0", "1", "2", "3", "pool"]
    assert not {"GridSample", "DeformConv", "GatherND", "ScatterND"} & set(found["operators"])
    assert "BatchNormalization" not in found["operators"]  # every norm is folded
    # The graph holds exactly what the scales decompose into.
    wanted = sorted(
        (sub.kernel, sub.dilation)
        for scale in SCALES.values()
        for sub in decompose(*scale, 16)
        if sub.dilation != (1, 1) or sub.kernel != (3, 3)
    )
    nodes = convolutions(tmp_path / "fd.onnx")
    got = [(tuple(node["kernel_shape"]), tuple(node["dilations"])) for node in nodes]
    assert sorted(pair for pair in got if pair[1] != (1, 1) or pair[0] in ((1, 3), (3, 1))) == wanted
    assert wanted == [((1, 3), (1, 1)), ((3, 3), (1, 2)), ((3, 3), (2, 3)), ((3, 3), (2, 3)), ((3, 3), (2, 4))]
    assert all(isinstance(size, int) and size > 0 for node in nodes for size in node["dilations"])


def test_psconv_network(tmp_path):
    network, example = backbone("psconv_frcnn_r50_fpn_1x_psconv"), torch.randn(1, 3, 64, 64)
    found = export_onnx(network, tmp_path / "ps.onnx", example)
    assert_same_outputs(network, tmp_path / "ps.onnx", example)
    layers = sum(isinstance(module, PSConv2d) for module in network.modules())
    assert layers == 4  # one block a stage
    assert (found["dilations"]["2x2"], found["dilations"]["4x4"]) == (layers, layers)
    assert sorted(found["dilations"]) == ["1x1", "2x2", "4x4"]
    assert not {"GridSample", "DeformConv", "BatchNormalization"} & set(found["operators"])


@pytest.mark.parametrize(
    "layer",
    [
        DecomposedConv2d(8, decompose(1.7, 0.4, 8), stride=2, groups=2, bias=True),
        PSConv2d(8, 8, groups=2, bias=True, axes="output", layout="interleaved"),
        MultiScaleFusion(8, 2, norm_groups=2),
    ],
)
def test_single_layers(tmp_path, layer):
    torch.manual_seed(0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    example = torch.randn(2, 8, 9, 11)
    export_onnx(layer, tmp_path / "layer.onnx", example)
    assert_same_outputs(layer.eval(), tmp_path / "layer.onnx", example)


def test_same_bytes_without_paths_and_the_model_is_left_alone(tmp_path):
    network, example = nn.Sequential(PSConv2d(4, 4), nn.ReLU()).train(), torch.randn(1, 4, 8, 8)
    before = copy.deepcopy(network.state_dict())
    for name in ("a", "b"):
        export_onnx(network, tmp_path / f"{name}.onnx", example, {"weights": "trained", "experiment": "x"})
    data = (tmp_path / "a.onnx").read_bytes()
    assert data == (tmp_path / "b.onnx").read_bytes()
    assert b".py" not in data
    assert b"/" not in b"".join(value.value.encode() for value in onnx.load(tmp_path / "a.onnx").metadata_props)
    assert {p.key: p.value for p in onnx.load(tmp_path / "a.onnx").metadata_props} == {
        "weights": "trained", "experiment": "x",
    }  # fmt: skip
    assert network.training
    assert isinstance(network[0], PSConv2d)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_layers_that_move_with_their_input_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"^1 is a GlobalScaleConv2d.*decompose its learnt scales"):
        export_onnx(nn.Sequential(nn.ReLU(), GlobalScaleConv2d(2, 2)), tmp_path / "a.onnx", torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"DeformConv2d.*no static form"):
        deployable(nn.Sequential(DeformConv2d(2, 2, 3)))
    assert not (tmp_path / "a.onnx").exists()


def test_a_convolution_without_static_dilations_is_found(tmp_path):
    helper = onnx.helper
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="bad", dilations=[0, 1])
    info = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, 3, 3]) for name in "xwy"]
    onnx.save(helper.make_model(helper.make_graph([node], "g", info[:2], info[2:])), tmp_path / "bad.onnx")
    with pytest.raises(ValueError, match="'bad' has no static integer dilations"):
        describe(tmp_path / "bad.onnx")
