"""Blocks: what several trainings of one experiment have in common, where they differ, and what is kept of them."""

import json

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline import blocks, paths
from pipeline.errors import InputError
from pipeline.evaluation.scoring import score
from pipeline.files import read_json
from pipeline.prediction.detector import predict
from pipeline.spec import Spec
from pipeline.training import all_blocks, detection
from pipeline.training.checkpoint import load_weights
from pipeline.training.classification.pretraining import pretrain
from pipeline.training.detection import train_detector
from pipeline.training.global_scales import decompose_init, learn_scales

BASE, GSL = "dst_frcnn_r50_fpn_1x", "pod_frcnn_r50_fpn_1x_gsl"


def in_blocks(experiment: str, count: int) -> Spec:
    return replace(tiny.spec(experiment), blocks=count)


def pretrained(count: int) -> None:
    pretrain(in_blocks("resnet50", count))


def test_means_of_facts_by_hand():
    parts = [
        {"steps": 6, "loss": 1.0, "share": None, "name": "a", "bins": [1, 2], "in": {"x": 0.1}, "rows": [[1], [2]]},
        {"steps": 6, "loss": 2.0, "share": 0.5, "name": "a", "bins": [3], "in": {"x": 0.3}, "rows": [[3], [4]]},
    ]
    means = {"steps": 6, "loss": 1.5, "share": 0.5, "name": "a", "bins": [2, 1], "in": {"x": 0.2}, "rows": [[2], [3]]}
    assert blocks.averaged(parts) == means
    assert blocks.summary(parts) == means | {"blocks": parts}
    assert blocks.summary(parts[:1]) == parts[0]
    assert blocks.averaged(["a", "b"]) == "a"


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(), st.integers(), max_size=4), min_size=1, max_size=4))
def test_what_is_joined_comes_apart_again(parts):
    names = blocks.joined(parts)
    if any(blocks.count([name]) > 1 for part in parts for name in part):  # names that look joined are nobody's
        return
    for number, part in enumerate(parts, 1):
        own = blocks.names_of(number, list(names))
        assert {own[name]: names[name] for name in own} == part


def test_the_first_block_is_the_training_of_a_single_one_and_others_differ(tiny_project):
    pretrained(2)
    assert (
        load_weights(paths.init("tiny", "resnet50"), 2)[0].keys()
        == load_weights(paths.init("tiny", "resnet50"))[0].keys()
    )
    train_detector(in_blocks(BASE, 1))
    alone = load_weights(paths.weights("tiny", BASE))[0]
    summary = read_json(paths.training_summary("tiny", BASE))
    train_detector(in_blocks(BASE, 2))
    first, second = (load_weights(paths.weights("tiny", BASE), number)[0] for number in (1, 2))
    assert all(alone[name].equal(first[name]) for name in alone)
    assert first.keys() == second.keys()
    assert any(not first[name].equal(second[name]) for name in first)
    both = read_json(paths.training_summary("tiny", BASE))
    assert both["blocks"][0] == summary
    assert both["loss_last"] == pytest.approx((summary["loss_last"] + both["blocks"][1]["loss_last"]) / 2, abs=1e-6)
    with pytest.raises(InputError, match="have 2 blocks, and block 3 is asked for"):
        load_weights(paths.weights("tiny", BASE), 3)


def test_more_blocks_train_only_those_that_are_new(tiny_project, monkeypatch):
    ran = []
    original = detection.train

    def counted(spec, *rest, **more):
        ran.append(spec.block)
        return original(spec, *rest, **more)

    def grown(experiment: str, count: int) -> Spec:
        spec = in_blocks(experiment, count)
        return replace(spec, preset=replace(spec.preset, grows=True))

    monkeypatch.setattr(detection, "train", counted)
    written = {}
    for count in (1, 3, 2, 1):  # the file that they start from grows and shrinks with their number
        pretrain(grown("resnet50", count))
        train_detector(grown(BASE, count))
        written.setdefault(count, []).append(paths.weights("tiny", BASE).read_bytes())
    assert ran == [1, 2, 3]
    assert written[1][0] == written[1][1]


def test_a_kill_in_the_second_block_goes_on_there(tiny_project, monkeypatch):
    pretrained(2)
    train_detector(in_blocks(BASE, 2))
    whole = paths.weights("tiny", BASE).read_bytes()
    for folder in paths.scratch(BASE, "x").parent.glob(f"{BASE}*"):
        for file in folder.iterdir():
            file.unlink()
    step = detection.DetectorStep.__call__
    calls = []

    def cut(self, number):
        calls.append(number)
        if len(calls) == 10:  # of 6 steps a block
            raise KeyboardInterrupt
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(detection.DetectorStep, "__call__", cut)
        with pytest.raises(KeyboardInterrupt):
            train_detector(in_blocks(BASE, 2))
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(
            detection.DetectorStep, "__call__", lambda self, number: calls.append(number) or step(self, number)
        )
        train_detector(in_blocks(BASE, 2))
    assert calls == [2, 3, 4, 5]  # a checkpoint follows every second step
    assert paths.weights("tiny", BASE).read_bytes() == whole


def test_experiments_of_a_block_draw_the_same_and_blocks_do_not():
    one, other = tiny.spec(BASE), tiny.spec("msfm_frcnn_r50_fpn_1x")
    assert one.seed == other.seed
    assert one.of_block(2).seed == other.of_block(2).seed != one.seed
    assert one.of_block(2).run == f"{BASE}_block2"


def test_scales_and_scores_of_all_blocks(tiny_project):
    pretrained(2)
    train_detector(in_blocks(GSL, 2))
    learn_scales(in_blocks(GSL, 2))
    learnt = read_json(paths.scales("tiny", GSL))
    heights = [part["layers"]["layer2.0"]["mean_h"] for part in learnt["blocks"]]
    assert learnt["layers"]["layer2.0"]["mean_h"] == pytest.approx(sum(heights) / 2, abs=1e-6)
    decompose_init(in_blocks(GSL, 2))
    for number in (1, 2):
        _, header = load_weights(paths.init("tiny", f"{GSL}_fd"), number)
        assert json.loads(header["scales"])["layer2.0"][0] == heights[number - 1]
    predict(in_blocks(GSL, 2), "single")
    score(in_blocks(GSL, 2), "single")
    found = read_json(paths.metrics("tiny", GSL))
    for metric in ("ap", "ap50", "detections"):
        assert found[metric] == pytest.approx(sum(part[metric] for part in found["blocks"]) / 2, abs=1e-6)
    with pytest.raises(InputError, match="has 2 blocks, and 1 are asked for"):
        score(in_blocks(GSL, 1), "single")
    replicates = read_json(paths.bootstrap("tiny", GSL))
    assert len(replicates["ap"]) == tiny.PRESET.verdicts.draws


def test_a_history_is_the_mean_of_its_blocks():
    texts = ["step,loss,collage\n2,1.0,0.5\n4,0.5,\n", "step,loss,collage\n2,2.0,\n4,0.25,\n"]
    assert all_blocks.mean_history(texts) == "step,loss,collage\n2,1.5,0.5\n4,0.375,\n"
    assert all_blocks.mean_history(texts[:1]) == texts[0]
