"""Run-to-run noise by kind of baseline: one kind's measurement keeps the others', unless the preset changed."""

import argparse

import pytest

from pipeline import config, paths
from pipeline.benchmarks import seeds
from pipeline.benchmarks.seed_groups import PRECISIONS
from pipeline.files import read_json, write_json
from pipeline.published.columns import RECALLS
from pipeline.verdicts.results import PRETRAINING, Results, fitting_groups, preset_digest

FREE = argparse.Namespace(proposals=None)


@pytest.fixture
def preset(tmp_path, monkeypatch):
    """Stand in an empty folder that still knows the preset `mini`, and return that."""
    found = config.load_preset("mini")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "load_preset", lambda name: found)
    return found


def measure(monkeypatch, groups: str) -> dict:
    values = {seed: dict.fromkeys([*PRECISIONS, *RECALLS], 0.40 + 0.02 * seed) for seed in (1, 2, 3)}
    monkeypatch.setattr(seeds, "one_run", lambda preset, group, experiment, seed: values[seed])
    seeds.main(argparse.Namespace(preset="mini", seeds=3, jobs=1, groups=groups, methods=""))
    return read_json(paths.NOISE)["mini"]["groups"]


def test_networks_of_proposals_have_the_noise_of_their_recalls(tmp_path, monkeypatch, preset):
    old = seeds.spread("x", PRECISIONS, [dict.fromkeys(PRECISIONS, ap) for ap in (0.1, 0.2)])
    write_json(paths.NOISE, {"mini": {"preset_digest": preset_digest(preset), "groups": {"fpn": old}}})
    groups = measure(monkeypatch, "proposals")
    assert groups["fpn"] == old
    assert groups["proposals"]["sd"]["recall50_0_25"] == pytest.approx(0.02)
    assert groups["proposals"]["values"]["ar"] == pytest.approx([0.42, 0.44, 0.46])
    assert "Median AR50 of 3 seeds: **44.0** %." in (tmp_path / "reports/mini/seeds.md").read_text()


def test_noise_of_other_options_is_not_kept(tmp_path, monkeypatch, preset):
    write_json(paths.NOISE, {"mini": {"preset_digest": "of other options", "groups": {"fpn": {"dof": 2}}}})
    assert set(measure(monkeypatch, "none")) == {"none"}


@pytest.mark.parametrize("group", [name for name in seeds.BASELINES if name != PRETRAINING])
def test_a_baseline_is_of_its_own_group(group):
    assert fitting_groups(seeds.BASELINES[group], seeds.METRICS[group][0])[0] == group


def calls_of(monkeypatch, group: str) -> list[tuple]:
    calls = []
    for place, name in (
        ("pipeline.training.classification.pretraining", "pretrain"),
        ("pipeline.training.detection", "train_detector"),
        ("pipeline.prediction.detector", "predict"),
        ("pipeline.evaluation.scoring", "score"),
    ):
        monkeypatch.setattr(
            f"{place}.{name}", lambda spec, *test, name=name: calls.append((name, spec.name, spec.preset.seed, *test))
        )
    seeds.work(group, seeds.BASELINES[group], "mini", 7)
    return calls


def test_a_run_of_pre_training_makes_a_backbone_with_its_own_seed(monkeypatch):
    name = "psconv_frcnn_r50_fpn_1x"
    detector = [("train_detector", name, 7), ("predict", name, 7, "single"), ("score", name, 7, "single")]
    assert calls_of(monkeypatch, PRETRAINING) == [("pretrain", "resnet50", 7), *detector]
    # Runs of other groups share their backbone.
    assert calls_of(monkeypatch, "l1")[0] == ("train_detector", "msfm_frcnn_r50_fpn_1x", 7)


def test_a_run_of_pre_training_cannot_write_the_graphs_backbones(tmp_path, monkeypatch, preset):
    monkeypatch.setattr(config, "resolve", lambda name, preset: argparse.Namespace(experiment=FREE))
    monkeypatch.setattr(seeds.subprocess, "run", lambda *words, **options: argparse.Namespace(returncode=0))
    monkeypatch.setattr(seeds, "read_json", lambda path: dict.fromkeys(PRECISIONS, 0.2))
    monkeypatch.setattr(seeds, "specs_of", lambda *words: [])
    monkeypatch.setattr(seeds, "run_signature", lambda specs: "one")
    for group, shared in ((PRETRAINING, False), ("l1", True)):
        seeds.one_run("mini", group, seeds.BASELINES[group], 1)
        folder = tmp_path / "data/scratch/seeds/mini" / f"{group}_1"
        assert (folder / "data/interim").is_symlink()
        assert (folder / "data/init").is_symlink() == shared


def test_masks_have_a_noise_of_their_own_and_their_boxes_that_of_boxes():
    name = seeds.BASELINES["masks"]
    assert (fitting_groups(name, "mask_ap_small"), fitting_groups(name, "ap_small")) == (("masks",), ("fpn",))


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        (seeds.BASELINES["masks"], {"masks", "fpn"}),
        ("msfm_mask_rcnn_r50_fpn_1x", {"masks", "l1"}),
        ("pod_frcnn_r50_c4_1x", {"c4"}),
        (seeds.BASELINES["fpn"], {"fpn"}),
        (seeds.BASELINES["l1"], {"l1"}),
        (seeds.BASELINES["voc"], {"voc"}),
    ],
)
def test_groups_of_an_experiment(monkeypatch, name, groups):
    results = Results("mini")
    monkeypatch.setitem(
        results.__dict__, "noise", {"l1": {"sd": {"ap": 0.5}, "dof": 3}, "fpn": {"sd": {"ap": 0.1}, "dof": 2}}
    )
    assert results.noise_groups(name) == groups
    if "l1" in groups:
        assert results.run_noise(name, "ap") == (0.5, 3)
        del results.noise["l1"]  # as a preset of a user's own data, which measures the usual baselines
        assert results.noise_groups(name) == groups - {"l1"} | {"fpn"}
        assert results.run_noise(name, "ap") == (0.1, 2)


def test_detectors_without_proposals_take_their_own_noise_where_it_was_measured(monkeypatch):
    results = Results("mini")
    measured = {name: {"sd": {"ap": sd}, "dof": 2} for name, sd in (("fpn", 0.1), ("l1", 0.2), ("dense", 0.3))}
    monkeypatch.setitem(results.__dict__, "noise", measured)
    name = "msfm_retinanet_r50_fpn_1x"
    found = []
    for group in ("dense", "l1", "fpn"):
        found.append(results.run_noise(name, "ap"))
        del measured[group]
    assert found == [(0.3, 2), (0.2, 2), (0.1, 2)]
    assert results.run_noise(name, "ap") == (None, None)
    assert results.run_noise("msfm_cascade_rcnn_r50_fpn_1x", "ap") == (None, None)


def test_methods_are_trained_beside_a_group_that_was_measured(monkeypatch, preset):
    method = "psconv_frcnn_r50_fpn_1x_psconv"
    specs = {name: config.resolve(name, "mini") for name in (method, seeds.BASELINES[PRETRAINING])}
    monkeypatch.setattr(config, "resolve", lambda name, preset: specs[name])
    ran = []

    def run(preset, group, experiment, seed):
        ran.append((group, experiment, seed))
        return dict.fromkeys(PRECISIONS, 0.1 * seed)

    monkeypatch.setattr(seeds, "one_run", run)
    words = argparse.Namespace(preset="mini", seeds=2, jobs=1, groups=PRETRAINING, methods=method)
    seeds.main(words)
    baseline = seeds.BASELINES[PRETRAINING]
    assert ran == [(PRETRAINING, name, seed) for name in (baseline, method) for seed in (1, 2)]
    found = read_json(paths.NOISE)["mini"]
    assert set(found["groups"]) == {PRETRAINING}
    assert found["methods"][method]["group"] == PRETRAINING
    assert found["methods"][method]["values"]["ap"] == pytest.approx([0.1, 0.2])
    ran.clear()
    seeds.main(words)
    assert ran == [(PRETRAINING, method, seed) for seed in (1, 2)]  # the baseline's are known
