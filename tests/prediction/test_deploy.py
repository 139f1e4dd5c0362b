"""The export stage: trained weights where they exist, what the file holds, and what cannot be exported."""

import json

import onnx
import pytest
import tiny
import torch

from pipeline import paths
from pipeline.errors import InputError
from pipeline.files import read_json
from pipeline.models import build_detector
from pipeline.prediction.deploy import export_experiment, load_network
from pipeline.training.checkpoint import load_weights, save_weights

SCALES = {"layer2.0": [1.5, 1.5], "layer3.0": [0.4, 1.0], "layer4.0": [3.0, 3.0]}


def test_trained_decomposed_detector(tiny_project):
    spec = tiny.spec("pod_frcnn_r50_fpn_1x_fd")
    torch.manual_seed(5)
    model = build_detector(spec, 6, {name: tuple(pair) for name, pair in SCALES.items()})
    save_weights(paths.weights("tiny", spec.name), model.state_dict(), {"scales": json.dumps(SCALES)})
    export_experiment(spec)
    found = read_json(paths.export("tiny", spec.name))
    assert (found["experiment"], found["weights"]) == (spec.name, "trained")
    assert found["contents"].startswith("backbone and neck")
    assert found["inputs"] == {"images": [1, 3, 64, 128]}  # 800x1344 times 0.1, in multiples of 32
    assert found["outputs"]["0"] == [1, 16, 16, 32]
    assert found["largest_difference"] < 1e-4
    assert found["largest_output"] > 0
    assert found["dilations"]["2x2"] == 1
    assert found["dilations"]["3x3"] == 1
    file = onnx.load(paths.onnx("tiny", spec.name))
    assert {note.key: note.value for note in file.metadata_props}["contents"] == found["contents"]
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in file.graph.initializer}
    lower = model.backbone.body.layer3[0].conv2.convs[0]
    assert lower.kernel_size == (1, 3)
    assert any(value.shape == tuple(lower.weight.shape) for value in weights.values())
    before = paths.onnx("tiny", spec.name).read_bytes()
    export_experiment(spec)
    assert paths.onnx("tiny", spec.name).read_bytes() == before


def test_an_untrained_experiment_is_refused(tiny_project):
    with pytest.raises(
        InputError, match=r"fd was not trained under preset tiny .*stages\.train pod_frcnn_r50_fpn_1x_fd"
    ):
        export_experiment(tiny.spec("pod_frcnn_r50_fpn_1x_fd"))
    paths.init("tiny", "resnet50").unlink()
    with pytest.raises(InputError, match=r"resnet50 was not trained under preset tiny .*stages\.pretrain resnet50"):
        export_experiment(tiny.spec("resnet50"))
    assert not paths.onnx("tiny", "resnet50").exists()


def test_weights_of_another_network_are_refused(tiny_project):
    spec = tiny.spec("dst_frcnn_r50_fpn_1x")
    state = build_detector(spec, 6).state_dict()
    state.pop(next(name for name in state if name.startswith("backbone.")))
    save_weights(paths.weights("tiny", spec.name), state, {})
    with pytest.raises(InputError, match=r"weights.safetensors does not hold what it should .*run its stage again"):
        export_experiment(spec)


def test_an_init_lacks_the_last_layer(tiny_project):
    export_experiment(tiny.spec("resnet50"))
    found = read_json(paths.export("tiny", "resnet50"))
    assert found["weights"].startswith("trained, but for the last linear layer")
    assert found["contents"].startswith("whole network")
    assert found["outputs"] == {"output": [1, 1000]}


def test_an_init_is_what_the_classifier_holds(tiny_project):
    network, _, size = load_network(tiny.spec("resnet50"))
    assert size == (32, 32)
    tensors, _ = load_weights(paths.init("tiny", "resnet50"))
    assert torch.equal(network.body.layer1[0].conv2.weight, tensors["backbone.body.layer1.0.conv2.weight"])


def test_a_scale_learner_cannot_be_exported(tiny_project):
    spec = tiny.spec("pod_frcnn_r50_fpn_1x_gsl")
    save_weights(paths.weights("tiny", spec.name), build_detector(spec, 6).state_dict(), {})
    with pytest.raises(InputError, match=r"pod_frcnn_r50_fpn_1x_gsl cannot be exported.*decompose"):
        export_experiment(spec)
