"""SNIP's experiments by their options: ranges, controls, ensembles, and an evaluation for every printed row."""

from __future__ import annotations

from functools import cache

import pytest

from pipeline import config, paths
from pipeline.options import PyramidLevel, Test
from pipeline.published.tables import find_table
from pipeline.spec import Spec

RESOLUTIONS = ((1400, 2000), (800, 1200), (480, 800))
HEAD = ((0, 80), (40, 160), (120, None))  # section 7.1
PROPOSAL = ((0, 80), (0, 160), (120, None))  # [0, 160] at 800x1200 is printed
INFERENCE = ((0, 90), (32, 180), (75, None))  # SNIPER's: the paper tuned its own on minival and prints none
SHARED = "snip_rpn_r101_6ep_single_scale_800"  # the proposals of tables 1 and 2
PLAIN_RPN, SNIP_RPN = (f"snip_rpn_dpn92_6ep_{method}_conv45_7anchor" for method in ("ms_train", "snip"))  # of table 4

# Printed row: the evaluation behind it, the proposals that it classifies, the training's and the test's resolutions.
ALL, HIGH, MIDDLE = (1400, 800, 480), (1400,), (800,)
ROWS = {
    "snip_t1": {
        "r50__1400_lt80px": ("snip_drfcn_r50_7ep_range_limited_1400", SHARED, HIGH, HIGH),
        "r50__800_all": ("snip_drfcn_r50_7ep_single_scale__res_1400", SHARED, MIDDLE, HIGH),
        "r50__1400_all": ("snip_drfcn_r50_7ep_single_scale_1400", SHARED, HIGH, HIGH),
        "r50__mst": ("snip_drfcn_r50_7ep_ms_train__res_1400", SHARED, ALL, HIGH),
        "r50__snip": ("snip_drfcn_r50_7ep_snip__res_1400", SHARED, ALL, HIGH),
    },
    "snip_t2": {
        "r50__single_scale": ("snip_drfcn_r50_7ep_single_scale", SHARED, MIDDLE, MIDDLE),
        "r50__ms_test": ("snip_drfcn_r50_7ep_single_scale__ms_test", SHARED, MIDDLE, ALL),
        "r50__ms_train_test": ("snip_drfcn_r50_7ep_ms_train__ms_test", SHARED, ALL, ALL),
        "r50__snip": ("snip_drfcn_r50_7ep_snip__ms_test", SHARED, ALL, ALL),
    },
    "snip_t3": {
        "rpn_r50__baseline": ("snip_rpn_r50_6ep_ms_train_conv4_5anchor", None, ALL, ALL),
        "rpn_r50__improved": ("snip_rpn_r50_6ep_ms_train_conv45_7anchor", None, ALL, ALL),
        "rpn_r50__snip": ("snip_rpn_r50_6ep_snip_conv45_7anchor", None, ALL, ALL),
        "rpn_dpn92__snip": (SNIP_RPN, None, ALL, ALL),
    },
    "snip_t4": {
        "ipn_dpn98__no_snip": ("snip_drfcn_dpn98_7ep_ms_train__ms_test", PLAIN_RPN, ALL, ALL),
        "ipn_dpn98__no_snip_rpn": ("snip_drfcn_dpn98_7ep_snip__rpn_without_snip", PLAIN_RPN, ALL, ALL),
        "ipn_dpn98__snip_abl": ("snip_drfcn_dpn98_7ep_snip__ms_test", SNIP_RPN, ALL, ALL),
        "ipn_r101": ("snip_drfcn_r101_7ep_snip__ms_test", "snip_rpn_r101_6ep_snip_conv45_7anchor", ALL, ALL),
        "ipn_dpn92": ("snip_drfcn_dpn92_7ep_snip__ms_test", SNIP_RPN, ALL, ALL),
        "ipn_dpn98": ("snip_drfcn_dpn98_7ep_snip__ms_test", SNIP_RPN, ALL, ALL),
        "ipn_dpn98__flip": ("snip_drfcn_dpn98_7ep_snip__flip", SNIP_RPN, ALL, ALL),
        "ipn_ensemble": ("snip_drfcn_dpn98_7ep_snip__ensemble", SNIP_RPN, ALL, ALL),
    },
    "snip_s7_3": {
        "ipn_joint_dpn92_r101__flip": ("snip_drfcn_dpn92_resnet101_joint_7ep_snip__flip", SNIP_RPN, ALL, ALL),
    },
}
CASES = [(table, row, *facts) for table, rows in ROWS.items() for row, facts in rows.items()]


@cache
def mini(name: str) -> Spec:
    return config.resolve(name, "mini")


def evaluation(name: str) -> tuple[Spec, Test]:
    """Return specification and test behind an evaluation."""
    experiment, test = paths.split_evaluation(name)
    spec = mini(experiment)
    return spec, spec.experiment.tests[test]


def resolutions(spec: Spec) -> tuple[tuple[int, int], ...]:
    """Return (short side, longest side) of every resolution that an experiment trains at."""
    levels = spec.experiment.pyramid or (PyramidLevel(spec.recipe.short_side, spec.recipe.long_side),)
    return tuple((level.short_side, level.long_side) for level in levels)


def test_every_printed_row_of_this_paper_is_walked() -> None:
    for table, rows in ROWS.items():
        printed = {row.id: row for row in find_table(table)[1].rows if row.ours}
        assert set(rows) == set(printed), table
        for name, (found, proposals, *_) in rows.items():
            wanted = printed[name].experiments  # the network of proposals first, the evaluated network last
            assert wanted[-1] == paths.split_evaluation(found)[0], (table, name)
            if table in ("snip_t4", "snip_s7_3"):
                assert wanted[0] == proposals, (table, name)


@pytest.mark.parametrize(("table", "row", "name", "proposals", "train", "test"), CASES)
def test_rows_train_and_test_at_their_resolutions_on_their_proposals(table, row, name, proposals, train, test) -> None:
    spec, options = evaluation(name)
    experiment, sides = spec.experiment, dict(RESOLUTIONS)
    assert resolutions(spec) == tuple((short, sides[short]) for short in train)
    assert (options.short_sides, options.long_sides) == (test, tuple(sides[short] for short in test))
    assert (options.proposals or experiment.proposals) == proposals
    printed = {r.id: r for r in find_table(table)[1].rows}[row].factors
    if "train_scales" in printed:  # written as 1400x2000, in rising order
        assert tuple(printed["train_scales"][::-1]) == tuple(f"{short}x{sides[short]}" for short in train)
        assert tuple(printed["test_scales"][::-1]) == tuple(f"{short}x{sides[short]}" for short in test)
    words = str(printed.get("test", ""))
    # Tables 1 and 2: NMS at 0.3, as in section 4.
    assert options.merge == ("soft_nms" if "soft_nms" in words else "nms")
    assert options.flip == ("flip" in words)
    assert bool(options.members) == ("ensemble" in words)


def test_valid_ranges_are_the_papers_wherever_snip_is_on() -> None:
    checked = 0
    for name in config.experiments("snip"):
        experiment = mini(name).experiment
        if experiment.method.snip is None or "range_limited" in name:
            assert all(level.chip_size is None for level in experiment.pyramid), name
            continue
        classifies = experiment.detector == "d_rfcn_rcn"
        ranges = tuple(level.head_range if classifies else level.proposal_range for level in experiment.pyramid)
        assert ranges == (HEAD if classifies else PROPOSAL), name
        chips = [level.chip_size for level in experiment.pyramid]
        assert chips == [None if "uncropped" in name else 1000, None, None], name
        assert {level.chips for level in experiment.pyramid} == {"sampled"}, name
        assert experiment.method.snip.ignore_iou == 0.3
        # after 3 of the classifier's 7 epochs, after 1 of the proposals' 6
        assert experiment.method.snip.starts_after == pytest.approx(3 / 7 if classifies else 1 / 6, abs=1e-4), name
        for test in experiment.tests.values():
            assert test.valid_ranges == (INFERENCE if classifies and len(test.short_sides) == 3 else None), name
        checked += 1
    assert checked == 9


def test_controls_differ_from_snip_in_what_they_control_alone() -> None:
    """Tables 1 and 2: all objects at 800 and at 1400, below 80 pixels at 1400, all resolutions, and no chips."""
    ours = mini("snip_drfcn_r50_7ep_snip").experiment
    controls = {
        "single_scale": ((), None),
        "single_scale_1400": ((PyramidLevel(1400, 2000),), None),
        "range_limited_1400": ((PyramidLevel(1400, 2000, head_range=(0, 80)),), 0.0),
        "ms_train": (tuple(PyramidLevel(*resolution) for resolution in RESOLUTIONS), None),
        "snip_uncropped": (
            tuple(PyramidLevel(*r, head_range=h) for r, h in zip(RESOLUTIONS, HEAD, strict=True)),
            ours.method.snip.starts_after,
        ),
    }
    for name, (pyramid, starts_after) in controls.items():
        spec = mini(f"snip_drfcn_r50_7ep_{name}")
        found = spec.experiment
        assert found.pyramid == pyramid, name
        assert (found.method.snip.starts_after if found.method.snip else None) == starts_after, name
        for same in ("detector", "backbone", "neck", "init", "recipe", "length", "region", "proposals"):
            assert getattr(found, same) == getattr(ours, same), (name, same)
        assert found.method.deformable == ours.method.deformable, name
    assert (ours.region.nms, ours.region.hard_examples, ours.region.pooling) == (0.3, 128, "bilinear")  # 7.1, section 4


def test_longer_baselines_differ_in_length_alone() -> None:
    for method in ("single_scale", "ms_train"):
        seven = mini(f"snip_drfcn_r50_7ep_{method}").experiment
        for epochs in (8, 9):
            longer = config.resolve(f"snip_drfcn_r50_{epochs}ep_{method}", "full")
            assert longer.recipe.epochs * longer.experiment.length == epochs
            for same in ("detector", "backbone", "init", "recipe", "region", "proposals", "method", "pyramid"):
                assert getattr(longer.experiment, same) == getattr(seven, same), (method, epochs, same)
            (test, options), *rest = longer.experiment.tests.items()
            assert (rest, options) == ([], seven.tests[test])


def test_recipes_hold_the_printed_schedule() -> None:
    for name, epochs, drop in (("snip_drfcn_r50_7ep_snip", 7, 5.33), ("snip_rpn_r50_6ep_snip_conv45_7anchor", 6, 4.33)):
        recipe = config.resolve(name, "full").recipe
        assert recipe.epochs == epochs
        assert [share * epochs for share in recipe.milestones] == pytest.approx([drop], abs=0.001)
        assert (recipe.batch, recipe.warmup_iterations, recipe.warmup_ratio) == (8, 1000, 0.1)  # 0.00005 to 0.0005


def test_the_ensemble_joins_the_three_networks_of_table_4_on_one_networks_proposals() -> None:
    spec, options = evaluation("snip_drfcn_dpn98_7ep_snip__ensemble")
    assert options.members == ("snip_drfcn_r101_7ep_snip", "snip_drfcn_dpn92_7ep_snip")
    assert {mini(member).experiment.detector for member in options.members} == {"d_rfcn_rcn"}
    for same in ("short_sides", "valid_ranges", "merge"):
        assert getattr(options, same) == getattr(spec.experiment.tests["flip"], same)
    joint = mini("snip_drfcn_dpn92_resnet101_joint_7ep_snip").experiment
    assert (joint.backbone, joint.region.second_backbone) == ("dpn92", "resnet101")
