"""The offsets stage: effective dilations of a deformable detector over images."""

import pytest
import tiny
import torch

from pipeline import paths
from pipeline.errors import InputError
from pipeline.files import read_json
from pipeline.models import build_detector
from pipeline.models.backbones.deformable import DeformableConv2d
from pipeline.options import DeformableOptions
from pipeline.training.checkpoint import save_weights
from pipeline.training.offset_spread import measure_offsets


def write_deformable(spec, scale: float, noise: float = 0.0):
    """Write a detector whose deformable layers sample a grid of one dilation, with offsets that follow the input."""
    torch.manual_seed(0)
    model = build_detector(spec, len(read_json(paths.manifest("tiny"))["categories"]))
    taps = torch.tensor([(i * (scale - 1), j * (scale - 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)]).flatten()
    for module in model.modules():
        if isinstance(module, DeformableConv2d):
            module.offset_predictor.bias.data = taps.clone()
            torch.nn.init.normal_(module.offset_predictor.weight, std=noise)
    save_weights(paths.weights("tiny", spec.name), model.state_dict())


@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_a_constant_grid_has_no_spread(tiny_project, neck):
    name = {"fpn": "pod_frcnn_r50_fpn_1x", "c4": "pod_frcnn_r50_c4_1x"}[neck]
    spec = tiny.with_method(tiny.spec(name), deformable=DeformableOptions())
    write_deformable(spec, 2.5)
    measure_offsets(spec)
    found = read_json(paths.offsets("tiny", spec.name))
    assert (found["images"], found["val"]["images"]) == (5, 4)
    assert sorted(found["layers"]) == ["layer2.0", "layer3.0", "layer4.0"]
    assert found["largest_spread"] == 0
    for split in (found["layers"], found["val"]["layers"]):
        for layer, groups in split.items():
            assert groups["all"]["mean"] == groups["h"]["mean"] == groups["w"]["mean"] == 2.5
            sized = sum(groups[size]["count"] for size in ("background", "small", "medium", "large"))
            # conv5_x of a C4 detector runs on regions, which have no place in the image.
            assert sized == (0 if neck == "c4" and layer == "layer4.0" else groups["all"]["count"])


def test_offsets_that_follow_the_input_spread(tiny_project):
    spec = tiny.with_method(tiny.spec("pod_frcnn_r50_fpn_1x"), deformable=DeformableOptions())
    write_deformable(spec, 1.0, noise=0.5)
    measure_offsets(spec)
    found = read_json(paths.offsets("tiny", spec.name))
    layers = found["layers"]
    assert all(groups["all"]["std"] > 0 for groups in layers.values())
    relative = [groups["all"]["std"] / groups["all"]["mean"] for groups in layers.values()]
    assert found["largest_spread"] == pytest.approx(max(relative), abs=1e-5)
    before = paths.offsets("tiny", spec.name).read_bytes()
    measure_offsets(spec)
    assert paths.offsets("tiny", spec.name).read_bytes() == before


def test_an_experiment_without_deformable_convolutions(tiny_project):
    with pytest.raises(InputError, match="pod_frcnn_r50_fpn_1x has no deformable convolution"):
        measure_offsets(tiny.spec("pod_frcnn_r50_fpn_1x"))
