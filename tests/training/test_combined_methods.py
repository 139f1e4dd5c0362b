"""Several papers' methods in one network: it is built with all its parts, trains with them, and detects."""

import math

import tiny
import torch

from pipeline import paths
from pipeline.files import read_json
from pipeline.layers import DecomposedConv2d, PSConv2d
from pipeline.models import build_detector
from pipeline.models.measure import measure, printed_scales
from pipeline.prediction.detector import predict
from pipeline.training.checkpoint import load_weights, save_weights
from pipeline.training.detection import train_detector
from pipeline.training.global_scales import decompose_init, learn_scales
from pipeline.training.inputs import read_scales

PREFIX = "combo_frcnn_r50_fpn_1x_"


def test_costs_of_parts_add_up():
    """PSConv and DST cost nothing, so PSConv + MSFM + DST has MSFM's parameters and multiply-adds."""
    sizes = {
        name: measure(tiny.spec(PREFIX + name), printed_scales(tiny.spec(PREFIX + name)))
        for name in ("dst", "msfm", "msfm_dst", "psconv_dst", "psconv_msfm_dst")
    }
    for key in ("parameters_total", "macs"):
        assert sizes["psconv_dst"][key] == sizes["dst"][key]
        assert sizes["psconv_msfm_dst"][key] == sizes["msfm_dst"][key] == sizes["msfm"][key]
    assert sizes["msfm"]["parameters_total"] > sizes["dst"]["parameters_total"]


def test_psconv_with_fusion_trains_on_collages(tiny_project):
    spec = tiny.spec(PREFIX + "psconv_msfm_dst", steps=4)
    save_weights(paths.init("tiny", spec.experiment.init), load_weights(paths.init("tiny", "resnet50"))[0])
    train_detector(spec)
    summary = read_json(paths.training_summary("tiny", spec.name))
    assert math.isfinite(summary["loss_last"])
    assert summary["collage_share"] > 0  # the first step is a collage
    weights, _ = load_weights(paths.weights("tiny", spec.name))
    model = build_detector(spec, len(read_json(paths.manifest("tiny"))["categories"]))
    model.load_state_dict(weights)
    layers = [layer for layer in model.modules() if isinstance(layer, PSConv2d)]
    assert layers
    assert {rate for layer in layers for rate in layer.dilation_lattice().unique().tolist()} == {1, 2, 4}
    predict(spec, "single")
    assert isinstance(read_json(paths.detections("tiny", spec.name)), list)


def test_a_decomposed_network_takes_transferred_weights_and_learns_fusion_beside_them(tiny_project):
    learner = tiny.spec("pod_frcnn_r50_fpn_1x_gsl")
    torch.manual_seed(1)
    classes = len(read_json(paths.manifest("tiny"))["categories"])
    save_weights(paths.weights("tiny", learner.name), build_detector(learner, classes).state_dict())
    learn_scales(learner)
    decompose_init(learner)
    spec = tiny.spec(PREFIX + "fd_wt_msfm_dst", steps=4)
    train_detector(spec)
    summary = read_json(paths.training_summary("tiny", spec.name))
    assert summary["init_matched"] > 0
    assert summary["init_unmatched"] > 0  # the fusion modules, which no global scale learner has
    weights, metadata = load_weights(paths.weights("tiny", spec.name))
    model = build_detector(spec, classes, read_scales(metadata))
    model.load_state_dict(weights)
    assert any(isinstance(layer, DecomposedConv2d) for layer in model.modules())
    predict(spec, "single")
