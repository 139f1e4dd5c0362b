"""The experiment files against the list of all experiments behind the papers' rows, claims and figures."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Any

import msgspec
import pytest

from pipeline import config, paths
from pipeline.files import read_yaml
from pipeline.options import DeformableOptions, Method, PyramidLevel
from pipeline.published.tables import exists, load_published
from pipeline.spec import Spec
from pipeline.verdicts.baselines import find_baseline
from pipeline.verdicts.lengths import behind

PUBLISHED = read_yaml(paths.ROOT / "data/published/experiments.yaml")
CONTROLS = read_yaml(paths.ROOT / "data/published/controls.yaml")
CATALOGUE = PUBLISHED | CONTROLS
DEFORMABLE = "_dcn"
BACKBONES = {  # what the list leaves open, or says in one word
    "resnext101": ("resnext101_32x8d", None),
    "dpn92+resnet101_joint": ("dpn92", "resnet101"),
}
ITERATIONS = {"24k": 24_000, "50k": 50_000}
EPOCHS = {"6ep": 6, "7ep": 7, "8ep": 8, "9ep": 9, "120ep_cos": 120, "300ep": 300}


@cache
def full(name: str) -> Spec:
    return config.resolve(name, "full")


def test_every_published_experiment_has_a_file_and_no_other_has():
    assert len(PUBLISHED) == 212
    assert set(config.experiments()) == set(CATALOGUE)
    assert not set(PUBLISHED) & set(CONTROLS)


@pytest.mark.parametrize("paper", paths.PAPERS)
def test_files_agree_with_the_list(paper):
    for name, entry in CATALOGUE.items():
        if paths.paper_of(name) != paper:
            continue
        experiment = full(name).experiment
        plain = entry["backbone"].removesuffix(DEFORMABLE)
        backbone, second = BACKBONES.get(plain, (plain, None))
        for same in ("dataset", "detector", "neck"):
            assert getattr(experiment, same) == entry[same], (name, same)
        assert experiment.backbone == backbone, name
        assert (experiment.region and experiment.region.second_backbone) == second, name
        assert "" not in (experiment.notes.row, experiment.notes.cost), name
        if entry["backbone"].endswith(DEFORMABLE):
            assert experiment.method.deformable, name


def test_lengths_agree_with_the_list():
    for name, entry in CATALOGUE.items():
        spec, schedule = full(name), entry["schedule"]
        if schedule.endswith("x"):
            assert spec.experiment.length == float(schedule[:-1]), name
            assert entry["epochs"] == 12 * spec.experiment.length, name
        elif schedule in ITERATIONS:
            assert spec.steps == ITERATIONS[schedule], name
        elif schedule in EPOCHS:
            assert spec.recipe.epochs * spec.experiment.length == EPOCHS[schedule] == entry["epochs"], name
        else:  # classifiers whose length no paper prints
            assert (entry["epochs"], spec.experiment.length) == (None, 1.0), name


def test_methods_agree_with_the_list():
    for name, entry in CATALOGUE.items():
        experiment = full(name).experiment
        method, kind = experiment.method, entry["method"]
        assert method.global_scale == (kind == "gsl"), name
        assert method.decomposed == (kind in ("fd", "fd_wt")), name
        assert (method.psconv is not None) == (kind == "psconv"), name
        assert (method.fusion is not None) == (kind == "msfm"), name
        assert (method.collage is not None) == (kind == "dst"), name
        assert method.small_loss_reweight == (kind == "small_loss_reweight"), name
        assert (method.snip is not None) == (kind in ("snip", "range_limited")), name


def test_what_comes_first_agrees_with_the_list():
    for name, entry in CATALOGUE.items():
        experiment = full(name).experiment
        wanted = entry.get("needs", [])
        suffix = {"fd": "_fd", "fd_wt": "_fd_wt"}.get(entry["method"], "")
        if entry["detector"] == "d_rfcn_rcn":
            assert [experiment.proposals] == wanted, name
            assert experiment.init == experiment.backbone, name
        elif wanted:
            assert [experiment.init] == [needed + suffix for needed in wanted], name
        elif entry["detector"] != "classifier":
            assert experiment.init == experiment.backbone, name


def test_options_hold_the_papers_values():
    msfm = full("msfm_frcnn_r50_fpn_1x_msfm_pos3_s3l_r16_32_64_g32_c2star_add").experiment.method.fusion
    assert (msfm.positions, msfm.scales, msfm.norm_groups, msfm.convs) == ((3,), (1.0, 1.4, 2.0), (32,), (1, 2, 2))
    concatenated = full("msfm_frcnn_r50_fpn_1x_msfm_pos1_s3s_r16_32_64_g8_c1_cat").experiment.method
    assert (concatenated.fusion.fusion, concatenated.fusion.convs) == ("concat", 1)
    long = full("dst_frcnn_r101_fpn_1x_ms_train_800_1200").experiment.method
    assert long.short_sides == (800, 900, 1000, 1100, 1200)
    jitter = full("pod_retinanet_r101_fpn_1_5x_fd_wt_scale_jitter").experiment
    assert (jitter.length, jitter.method.short_sides) == (1.5, (640, 672, 704, 736, 768, 800))
    low = full("dst_frcnn_r50_fpn_1x_dst_res_512")
    assert (low.recipe.short_side, low.recipe.long_side) == (512, 853)
    assert (low.experiment.tests["single"].short_sides, low.experiment.tests["single"].long_sides) == ((512,), (853,))
    voc = full("dst_voc_frcnn_r50_fpn_24k_dst")
    assert (voc.lr, voc.recipe.milestones, voc.recipe.batch) == (0.01, (0.6667,), 16)
    voc = config.resolve("dst_voc_frcnn_r50_fpn_24k", "mini")  # a preset's steps are 12 epochs, VOC's 24k are 23.2
    assert voc.steps == round(voc.preset.training.steps * 23.2 / 12)
    neck = full("psconv_frcnn_r50_fpn_1x_psconv_fpn_too").experiment.method.psconv
    assert (neck.dilations, neck.neck) == ((1, 2, 1, 4), True)
    limited = full("snip_drfcn_r50_7ep_range_limited_1400").experiment
    assert limited.pyramid == (PyramidLevel(1400, 2000, head_range=(0, 80)),)
    assert (limited.method.snip.starts_after, limited.region.nms) == (0, 0.3)
    final = full("snip_drfcn_dpn98_7ep_snip").experiment
    assert final.region.pooling == "deformable"
    assert final.method.deformable == DeformableOptions(stages=(5,), offset_groups=4)
    assert final.tests["rpn_without_snip"].proposals == "snip_rpn_dpn92_6ep_ms_train_conv45_7anchor"
    rpn = full("snip_rpn_dpn92_6ep_snip_conv45_7anchor").experiment
    assert (rpn.rpn.features, rpn.rpn.anchors) == ("conv45", (32, 64, 112, 160, 208, 256, 384))
    assert rpn.method.snip.starts_after == pytest.approx(1 / 6, abs=1e-4)


def lengths(name: str) -> float:
    """Return the epochs of all trainings behind an experiment, in multiples of the recipe's 1x."""
    return sum(full(one).experiment.length for one in behind(name))


def test_pods_baselines_train_as_long_as_all_trainings_whose_weights_a_method_has():
    published = load_published("pod")
    compared = 0
    for table in published.tables:
        for row in (row for row in table.rows if exists(row) and row.role == "method"):
            baseline, _ = find_baseline(published, table, row)
            if baseline and row.factors["method"] == "fd_wt":
                assert lengths(row.experiments[-1]) == lengths(baseline), row.id
                compared += 1
            elif baseline:  # FD takes its scales from another training, and no weights
                assert full(row.experiments[-1]).experiment.length == full(baseline).experiment.length, row.id
    assert compared == 5


RECIPES = {  # box loss, the RPN's, samples of RoIAlign, all decay, warm-up, clipping, start of new layers
    "pod": ("smooth_l1", "smooth_l1", 2, True, (500, 1 / 3), None, "he"),  # section 4.1; losses: the codes of 2019
    "msfm": ("l1", "l1", 0, True, (500, 0.001), None, "family"),  # mmdetection 2, configs/_base_; section 4.1
    "psconv": ("smooth_l1", "smooth_l1", 2, True, (500, 1 / 3), 35, "family"),  # d-li14/PSConv, configs/psconv
}


@pytest.mark.parametrize("paper", RECIPES)
def test_recipes_hold_the_authors_values(paper):
    for name in (name for name in CATALOGUE if paths.paper_of(name) == paper and "_cls_" not in name):
        spec = full(name)
        recipe = spec.recipe
        found = (recipe.box_loss, recipe.rpn_box_loss, spec.roi_samples, recipe.decay_all)
        found += ((recipe.warmup_iterations, recipe.warmup_ratio), recipe.gradient_clip, recipe.new_layers)
        assert found == RECIPES[paper], name
        assert (recipe.batch, recipe.lr, recipe.weight_decay, recipe.momentum) == (16, 0.02, 1e-4, 0.9), name
        assert (recipe.short_side, recipe.long_side, spec.frozen_stages) == (800, 1333, 1), name
        norm = "sync" if paper == "pod" else "frozen_statistics"
        assert (spec.norm, recipe.rpn_positive_iou, recipe.rpn_negative_iou) == (norm, 0.7, 0.3), name
    assert all(full(name).recipe.decay_all for name in CATALOGUE if "psconv_cls_" in name)


def network(detector: str, backbone: str, neck: str, method: Method) -> tuple[Any, ...]:
    """Return what makes a network, of an experiment or of a row of published parameters."""
    fusion = method.fusion
    if fusion is not None and isinstance(fusion.convs, int):
        fusion = msgspec.structs.replace(fusion, convs=(fusion.convs,) * len(fusion.scales))
    layers = (method.global_scale, method.decomposed, method.psconv, method.deformable, fusion)
    return {"dynamic_rcnn": "faster_rcnn"}.get(detector, detector), backbone, neck, layers


@pytest.mark.slow
def test_measure_answers_for_every_experiment_with_the_worked_out_numbers():
    from pipeline.models.identities import load_identities
    from pipeline.models.measure import measure, printed_scales

    rows = defaultdict(list)
    for row in load_identities():
        if row.variant is None and not row.least_scale:
            neck = "none" if row.detector == "classifier" else row.neck
            rows[network(row.detector, row.backbone, neck, row.method)].append(row)
    compared, sizes, measured = set(), {}, {}
    for name in PUBLISHED:
        spec = full(name)
        experiment = spec.experiment
        kind = network(experiment.detector, experiment.backbone, experiment.neck, experiment.method)
        key = (experiment.detector, kind, experiment.dataset, experiment.region, experiment.rpn, experiment.stem)
        if (key, experiment.resolutions) not in measured:  # many trainings share a network
            measured[key, experiment.resolutions] = measure(spec, printed_scales(spec))
        size = measured[key, experiment.resolutions]
        sizes[name] = size["parameters_total"]
        assert 0 < size["parameters_trainable"] <= size["parameters_total"], name
        assert size["macs"] > 1e9, name
        if experiment.dataset == "voc" or experiment.stem != "standard":
            continue
        for row in rows.get(kind, ()):
            assert size[f"parameters_{row.counted}" if row.detector != "classifier" else "parameters_total"] == (
                row.parameters
            ), (name, row.name)
            compared.add(row.name)
    assert compared == {row.name for group in rows.values() for row in group}
    # 60 classes fewer than COCO's, each with a score and four box coordinates from 1,024 features and a bias
    assert sizes["dst_frcnn_r50_fpn_1x"] - sizes["dst_voc_frcnn_r50_fpn_24k"] == 60 * 5 * 1025
