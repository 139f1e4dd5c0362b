"""The budget: what the graph's stages will do, multiplied out by hand."""

import os

import pytest
import torch

from pipeline import config
from pipeline.analysis.costs import training_area
from pipeline.benchmarks import budget
from pipeline.benchmarks.budget import Work, network_key, pyramid_area, seconds_an_image, test_area, text_of, work_of
from pipeline.options import Test

IMAGES = {"train": 1000, "val": 300}
test_area.__test__ = False


def test_work_by_hand():
    preset = config.load_preset("mini")
    mini, blocks = preset.training, preset.headline_blocks
    base = work_of("train", "msfm_frcnn_r50_fpn_1x", "mini", IMAGES)
    assert base == Work("train", "msfm_frcnn_r50_fpn_1x", trained=mini.steps * mini.batch * blocks)
    init = work_of("pretrain", "resnet50", "mini", IMAGES)
    assert init.trained == mini.pretrain_steps * mini.pretrain_batch * blocks
    assert work_of("pretrain", "resnet50", "full", IMAGES).trained == 0  # fetched
    assert work_of("predict", "msfm_frcnn_r50_fpn_1x", "mini", IMAGES).inferred == 300 * blocks
    assert work_of("table", "", "mini", IMAGES) == Work("table", "")
    rpn = "snip_rpn_r101_6ep_single_scale_800"
    assert work_of("propose", rpn, "mini", IMAGES).inferred > 1300 * 0.9 * blocks  # both splits


def test_areas():
    spec = config.resolve("dst_frcnn_r50_fpn_1x", "mini")
    assert test_area(spec, Test()) == pytest.approx(1.0)
    assert test_area(spec, Test(flip=True)) == pytest.approx(2.0)
    both = Test(short_sides=(800, 400), long_sides=(1333, 666))
    assert test_area(spec, both) == pytest.approx(1.25, abs=0.001)
    assert pyramid_area(spec) == 1.0
    snip = config.resolve("snip_drfcn_r50_7ep_snip", "mini")
    assert pyramid_area(snip) == pytest.approx(training_area(snip) / 200**2 / (4 / 3))


def test_collages_share_their_baselines_network_and_layers_do_not():
    keys = {
        name: network_key(config.resolve(name, "mini"))
        for name in ("dst_frcnn_r50_fpn_1x", "dst_frcnn_r50_fpn_1x_dst", "psconv_frcnn_r50_fpn_1x_psconv")
    }
    first, second, third = keys.values()
    assert first == second != third


def test_the_graph_says_what_is_to_do():
    found = budget.works("quickstart", "mini", IMAGES)
    trained = [work.experiment for work in found if work.kind == "train"]
    assert "dst_frcnn_r50_fpn_1x_dst" in trained
    assert "snip_rpn_r101_6ep_single_scale_800" in trained  # whose proposals another classifies
    assert len(trained) == len(set(trained))
    assert {work.kind for work in found} >= {"pretrain", "train", "predict", "propose", "learn_scales", "evaluate"}


def test_seconds_are_multiplied_out_and_networks_timed_once():
    timed = []

    def measure(spec):
        timed.append(spec.name)
        return 0.5, 0.25

    work = [
        Work("train", "dst_frcnn_r50_fpn_1x", trained=100),
        Work("train", "dst_frcnn_r50_fpn_1x_dst", trained=100),
        Work("predict", "dst_frcnn_r50_fpn_1x", inferred=40),
        Work("table", ""),
    ]
    seconds = budget.budget(work, "mini", measure, 3.0)
    assert timed == ["dst_frcnn_r50_fpn_1x"]
    found = budget.by_kind(work, seconds)
    assert found == {"train": (2, 106.0), "predict": (1, 13.0), "table": (1, 3.0)}
    text = text_of(found, 2, "quickstart")
    assert "train                 2 stages      1.8 min" in text
    assert "everything else       1 stages      0.1 min" in text
    assert "2 minutes of work, about 1 minutes with 2 side by side" in text


@pytest.mark.parametrize("name", ["psconv_frcnn_r50_fpn_1x_psconv", "resnet50"])
def test_networks_are_timed(name):
    training, inference = seconds_an_image(config.resolve(name, "mini"), torch.device("cpu"), "fp32")
    assert training > 0
    assert inference > 0


def test_what_is_finished_costs_nothing_more(monkeypatch):
    """Of a target's stages only those out of date count, and what is made of these."""
    stale = "workflow/papers/dst:train@dst_frcnn_r50_fpn_1x_dst"
    known = budget.declared.stages()
    (address,) = (name for name in known if name.endswith(stale.partition(":")[2]) and "/dst/" in name)
    monkeypatch.setattr(budget, "stale_stages", lambda addresses, stages: [address])
    found = budget.works("compare", "mini", IMAGES, left=True)
    assert [work.experiment for work in found if work.kind == "train"] == ["dst_frcnn_r50_fpn_1x_dst"]
    assert {work.kind for work in found} >= {"train", "predict", "per_class", "compare"}
    assert all(work.address for work in found)


def test_a_busy_machine_is_said(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 1.0, 1.0))
    assert budget.busy() == ""
    monkeypatch.setattr(os, "getloadavg", lambda: (5.04, 1.0, 1.0))
    assert budget.busy().startswith("This machine is busy beside: 5.0 processes want its 2 processors")
