"""Parameters and multiply-adds of whole networks, against published and worked-out numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from torch import nn

from pipeline import config
from pipeline.models.measure import count, measure, printed_scales
from pipeline.options import DeformableOptions


def test_count_of_a_convolution_and_a_linear_layer():
    with torch.device("meta"):
        layer, linear = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=4), nn.Linear(16, 5)
    x = torch.empty(2, 8, 10, 14, device="meta")
    assert count(lambda: layer(x)) == 2 * 16 * 5 * 7 * (8 // 4) * 9
    assert count(lambda: linear(torch.empty(3, 16, device="meta"))) == 3 * 16 * 5


@pytest.mark.parametrize(
    ("experiment", "total", "trainable"),
    [
        ("psconv_frcnn_r50_fpn_1x", 41_753_056, 41_527_712),
        ("psconv_frcnn_r50_fpn_1x_psconv", 41_753_056, 41_527_712),
        ("msfm_frcnn_r50_fpn_1x_msfm", 44_071_784, 43_846_440),
        ("msfm_dynamic_rcnn_r50_fpn_1x", 41_753_056, 41_527_712),
        ("msfm_dynamic_rcnn_r50_fpn_1x_msfm", 44_071_784, 43_846_440),
        ("msfm_reppoints_r50_fpn_1x", 36_845_494, 36_620_150),
        ("msfm_reppoints_r50_fpn_1x_msfm", 39_164_222, 38_938_878),
        ("dst_frcnn_r50_fpn_1x", 41_753_056, 41_527_712),  # a recipe that freezes all norms and one that freezes none
        ("pod_frcnn_r50_fpn_1x", 41_753_056, 41_527_712),  # count the same parameters as trainable
        ("pod_frcnn_r50_fpn_1x_gsl", 41_753_056 + 7194, 41_527_712 + 7194),
        ("pod_frcnn_r50_fpn_1x_fd", 40_954_336, 40_728_992),  # at the scales of POD's table 3
    ],
)
def test_experiments_have_the_worked_out_parameters(experiment, total, trainable):
    spec = config.resolve(experiment, "full")
    size = measure(spec, printed_scales(spec))
    assert (size["parameters_total"], size["parameters_trainable"]) == (total, trainable)


def test_classifiers_at_224_and_32_pixels():
    rows = {
        "resnet50": ([224, 224], 25_557_032, 4_089_184_256),
        "psconv_cls_r50_step_psconv": ([224, 224], 25_557_032, 4_089_184_256),
        "psconv_cls_se_r50_120ep_cos_psconv": ([224, 224], 28_088_024, 4_091_699_200),
        "psconv_cls_x101_32x4d_120ep_cos": ([224, 224], 44_177_704, 7_969_996_800),
        "psconv_cls_x29_8x64d_300ep": ([32, 32], 34_518_948, 5_387_358_208),
    }
    for name, (side, parameters, macs) in rows.items():
        size = measure(config.resolve(name, "full"))
        assert (size["input"], size["parameters_total"], size["macs"]) == (side, parameters, macs)
        assert (size["parameters_trainable"], size["scales"]) == (parameters, None)


def test_deformable_convolutions_cost_theirs_and_the_offsets():
    plain = config.resolve("msfm_frcnn_r50_fpn_1x", "full")
    deformable = measure(tiny.with_method(plain, deformable=DeformableOptions()))
    assert deformable["parameters_trainable"] == 42_108_554  # as printed: 42.1 M
    levels = ((4, 128, 100 * 168), (6, 256, 50 * 84), (3, 512, 25 * 42))  # blocks, channels, positions
    offsets = sum(blocks * channels * 9 * 18 * positions for blocks, channels, positions in levels)
    assert deformable["macs"] == measure(plain)["macs"] + offsets


def test_a_global_scale_learner_costs_its_linear_layers_and_psconv_nothing():
    plain, learner = (measure(config.resolve(f"pod_frcnn_r50_fpn_1x{end}", "full")) for end in ("", "_gsl"))
    assert learner["macs"] - plain["macs"] == 2 * (4 * 128 + 6 * 256 + 3 * 512)
    assert measure(config.resolve("psconv_frcnn_r50_fpn_1x_psconv", "full"))["macs"] == plain["macs"]


def test_faster_rcnn_at_800_by_1344():
    size = measure(config.resolve("msfm_frcnn_r50_fpn_1x", "full"))
    assert size["input"] == [800, 1344]
    # By hand. The trunk is the classifier without its 2048x1000 layer, at (800*1344)/(224*224) of its positions.
    trunk = (4_089_184_256 - 2048 * 1000) * (800 * 1344) // (224 * 224)
    levels = [200 * 336, 100 * 168, 50 * 84, 25 * 42]
    lateral = sum(n * c * 256 for n, c in zip(levels, (256, 512, 1024, 2048), strict=True))
    smooth = sum(levels) * 256 * 256 * 9
    proposals = (sum(levels) + 13 * 21) * (256 * 256 * 9 + 256 * 3 + 256 * 12)
    heads = 1000 * (256 * 49 * 1024 + 1024 * 1024 + 1024 * 81 + 1024 * 320)
    assert size["macs"] == trunk + lateral + smooth + proposals + heads


def test_scales_of_a_decomposed_network():
    spec = config.resolve("pod_frcnn_r50_fpn_1x_fd", "full")
    plain = measure(config.resolve("pod_frcnn_r50_fpn_1x", "full"))
    unknown = measure(spec)
    assert unknown["scales"] == "assumed"
    for key in ("parameters_total", "macs"):
        assert unknown[key] == plain[key]  # scale 1 everywhere
    blocks = [f"layer{stage}.{block}" for stage, many in ((2, 4), (3, 6), (4, 3)) for block in range(many)]
    learnt = dict.fromkeys(blocks, (2.0, 3.0))
    assert measure(spec, learnt)["macs"] == plain["macs"]  # dilation is free
    collapsed = measure(spec, dict.fromkeys(blocks, (0.0, 1.0)))  # every kernel is 1x3
    removed = 4 * 128**2 * 6 + 6 * 256**2 * 6 + 3 * 512**2 * 6
    assert plain["parameters_total"] - collapsed["parameters_total"] == removed
    assert collapsed["scales"] == "learnt"


def test_printed_scales_are_pods_table_3():
    assert printed_scales(config.resolve("pod_frcnn_r50_fpn_1x", "full")) is None
    scales = printed_scales(config.resolve("pod_frcnn_r50_fpn_1x_fd", "full"))
    assert len(scales) == 13
    assert (scales["layer3.0"], scales["layer3.5"]) == ((0.77, 0.82), (1.41, 1.39))
    spec = config.resolve("pod_frcnn_r50_fpn_1x", "full")
    control = printed_scales(tiny.with_method(spec, decomposed=True, scale_stages=(2, 5)))
    assert control == dict.fromkeys(("layer1.0", "layer1.1", "layer1.2"), (1.0, 1.0)) | {
        "layer4.0": (0.46, 0.89),
        "layer4.1": (2.81, 3.68),
        "layer4.2": (2.81, 3.68),
    }
    assert (scales["layer4.0"], scales["layer4.2"]) == ((0.46, 0.89), (2.81, 3.68))
    assert set(printed_scales(tiny.spec("pod_frcnn_r50_fpn_1x_fd"))) == {"layer2.0", "layer3.0", "layer4.0"}


@pytest.mark.parametrize("name", [*config.experiments(), *config.combinations()])
def test_every_experiment_can_be_measured(name):
    spec = tiny.spec(name)
    size = measure(spec, printed_scales(spec))
    assert size["experiment"] == name
    assert 0 < size["parameters_trainable"] <= size["parameters_total"]
    assert size["macs"] > 0
    json.dumps(size, allow_nan=False)


def test_stage_prints_one_json_object():
    command = [sys.executable, "-m", "pipeline.stages.measure", "msfm_frcnn_r50_fpn_1x", "--preset", "full", "--json"]
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(command, cwd=root, env=os.environ, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout)["parameters_total"] == 41_753_056
