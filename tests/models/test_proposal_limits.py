"""How many proposals are kept: a preset's limits for a pyramid, and several times as many where one level has all."""

from __future__ import annotations

import pytest
import torch

from pipeline import config
from pipeline.models.heads.two_stage import FPN_ANCHORS, build_rpn

C4 = [(32, 64, 128, 256, 512)]


@pytest.mark.parametrize(
    ("preset", "anchors", "before", "after"),
    [
        ("full", C4, (12_000, 6_000), (2_000, 1_000)),  # MMDetection, configs/_base_/models/faster_rcnn_r50_caffe_c4.py
        ("full", [(side,) for side in FPN_ANCHORS], (2_000, 1_000), (1_000, 1_000)),
        ("mini", C4, (1_800, 2_400), (400, 200)),
    ],
)
def test_limits_before_and_after_suppression(preset, anchors, before, after):
    with torch.device("meta"):
        rpn = build_rpn(config.resolve("pod_frcnn_r50_c4_1x", preset), 64, anchors)
    names = ("training", "testing")
    assert tuple(rpn._pre_nms_top_n[name] for name in names) == before
    assert tuple(rpn._post_nms_top_n[name] for name in names) == after


def test_snips_networks_keep_300_of_each_resolution_where_the_preset_lets_them():
    name = "snip_rpn_r50_6ep_snip_conv45_7anchor"
    assert (config.resolve(name, "full").kept_proposals, config.resolve(name, "mini").kept_proposals) == (300, 200)
