"""SNIP's experiments by their options: ranges, controls, ensembles, and an evaluation for every printed row."""

from collections.abc import Iterable
from functools import cache

import msgspec
import pytest

from pipeline import config, paths
from pipeline.analysis.pyramid_inputs import expected_units
from pipeline.options import PyramidLevel, Test
from pipeline.published.tables import find_table
from pipeline.spec import Spec
from pipeline.training.epochs import training_length

RESOLUTIONS = ((1400, 2000), (800, 1200), (480, 800))
HEAD = ((0, 80), (40, 160), (120, None))  # section 7.1
PROPOSAL = ((0, 80), (0, 160), (120, None))  # [0, 160] at 800x1200 is printed
INFERENCE = ((0, 90), (32, 180), (75, None))  # SNIPER's: the paper tuned its own on minival and prints none
SHARED = "snip_rpn_r101_6ep_single_scale_800"  # the proposals of tables 1 and 2
TABLES = ("snip_t1", "snip_t2", "snip_t3", "snip_t4", "snip_s7_3")
CASES = [(table, row) for table in TABLES for row in find_table(table)[1].rows if row.ours]


@cache
def mini(name: str) -> Spec:
    return config.resolve(name, "mini")


def evaluation(name: str) -> tuple[Spec, Test]:
    """Return specification and test behind an evaluation."""
    experiment, test = paths.split_evaluation(name)
    spec = mini(experiment)
    return spec, spec.experiment.tests[test]


def written(sides: Iterable[tuple[int, int]]) -> list[str]:
    """Return (short, long) sides as papers write them."""
    return [f"{short}x{long}" for short, long in sides]


@pytest.mark.parametrize(("table", "row"), CASES, ids=lambda value: getattr(value, "id", value))
def test_rows_train_and_test_at_their_resolutions_on_their_proposals(table, row) -> None:
    spec, options = evaluation(row.source.name)
    levels = spec.experiment.pyramid or (PyramidLevel(spec.recipe.short_side, spec.recipe.long_side),)
    every = written(RESOLUTIONS)[::-1]  # printed in rising order; table 3 prints none and has all
    assert written((one.short_side, one.long_side) for one in levels) == row.factors.get("train_scales", every)[::-1]
    looks = written(zip(options.short_sides, options.long_sides, strict=True))
    assert looks == row.factors.get("test_scales", every)[::-1]
    assert spec.name == row.experiments[-1]
    proposals = {"snip_t1": SHARED, "snip_t2": SHARED, "snip_t3": None}.get(table, row.experiments[0])
    assert (options.proposals or spec.experiment.proposals) == proposals
    words = str(row.factors.get("test", ""))
    # Tables 1 and 2: NMS at 0.3, as in section 4.
    assert options.merge == ("soft_nms" if "soft_nms" in words else "nms")
    assert options.flip == ("flip" in words)
    assert bool(options.members) == ("ensemble" in words)


def test_every_printed_row_is_one_of_these() -> None:
    assert len(CASES) == 22


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


def test_ranges_are_searched_for_every_classifier_at_several_resolutions_from_the_same_start() -> None:
    """Section 7.3: "the best possible validity ranges at each resolution for each of these methods"."""
    checked = 0
    for name in config.experiments("snip"):
        experiment = mini(name).experiment
        for test in experiment.tests.values():
            several = experiment.detector == "d_rfcn_rcn" and len(test.short_sides) > 1
            assert test.search_ranges == several, name
            assert test.valid_ranges == (INFERENCE if several else None), name
            checked += several
    assert checked == 15


IMAGES = 117_266  # of train2017 with an object
# steps, first step with ranges, first step of the lower rate: at full size on COCO, by the units of its labels
# (3 inputs an image without ranges; 1.0805 + 0.7627 + 0.8496 with the classifier's, chips of 1000; whole images of
# 1400 px 0.6645; the proposals' 1.0805 + 0.8186 + 0.8496), and under mini as many for COCO's units.
LENGTHS = {
    "drfcn_r50_7ep_single_scale": (102_608, None, 78_129),
    "drfcn_r50_8ep_single_scale": (117_266, None, 89_290),
    "drfcn_r50_9ep_single_scale": (131_924, None, 100_451),
    "drfcn_r50_7ep_single_scale_1400": (102_608, None, 78_129),
    "drfcn_r50_7ep_range_limited_1400": (68_183, 0, 51_917),
    "drfcn_r50_7ep_ms_train": (307_824, None, 234_386),
    "drfcn_r50_8ep_ms_train": (351_798, None, 267_869),
    "drfcn_r50_9ep_ms_train": (395_772, None, 301_352),
    "drfcn_dpn98_7ep_ms_train": (307_824, None, 234_386),
    "drfcn_r50_7ep_snip_uncropped": (265_420, 131_924, 209_686),
    **dict.fromkeys(
        ("drfcn_r50_7ep_snip", "drfcn_r101_7ep_snip", "drfcn_dpn92_7ep_snip", "drfcn_dpn98_7ep_snip"),
        (289_812, 131_924, 223_894),
    ),
    "drfcn_dpn92_resnet101_joint_7ep_snip": (289_812, 131_924, 223_894),
    "rpn_r101_6ep_single_scale_800": (87_950, None, 63_471),
    "rpn_r50_6ep_ms_train_conv4_5anchor": (263_850, None, 190_412),
    "rpn_r50_6ep_ms_train_conv45_7anchor": (263_850, None, 190_412),
    "rpn_dpn92_6ep_ms_train_conv45_7anchor": (263_850, None, 190_412),
    "rpn_r50_6ep_snip_conv45_7anchor": (245_432, 43_975, 178_145),
    "rpn_r101_6ep_snip_conv45_7anchor": (245_432, 43_975, 178_145),
    "rpn_dpn92_6ep_snip_conv45_7anchor": (245_432, 43_975, 178_145),
}


def length_of(spec: Spec, images: int) -> tuple[int, int | None, int]:
    found = training_length(spec, images, expected_units(spec))
    (drop,) = found.milestones
    return found.steps, found.ranges_from, drop


def test_lengths_at_full_size_count_the_inputs_of_every_epoch() -> None:
    trained = {name for name in config.experiments("snip") if "_cls_" not in name}
    assert {f"snip_{name}" for name in LENGTHS} == trained
    for name, wanted in LENGTHS.items():
        assert length_of(config.resolve(f"snip_{name}", "full"), IMAGES) == wanted, name


def test_a_presets_steps_are_those_of_a_single_resolution() -> None:
    for name, wanted in LENGTHS.items():
        spec = mini(f"snip_{name}")
        single = round(spec.preset.training.steps * spec.recipe.epochs * spec.experiment.length / 12)
        share = single / (IMAGES * spec.recipe.epochs * spec.experiment.length / spec.recipe.batch)
        stated = msgspec.structs.replace(spec, preset=msgspec.structs.replace(spec.preset, name="full"))  # COCO's units
        found = length_of(stated, 1)
        scaled = [None if steps is None else pytest.approx(steps * share, abs=2) for steps in wanted]
        assert list(found) == scaled, name


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
        assert (recipe.batch, recipe.warmup_iterations, recipe.warmup_ratio) == (8, 1000, 0.1)
        assert (recipe.warmup, recipe.lr) == ("constant", pytest.approx(8 * 0.0005))  # of means over 8 GPUs' images
        assert (recipe.rpn_positive_iou, recipe.rpn_negative_iou) == (0.7, 0.3)  # section 7.2; SNIPER: 0.5 and 0.4


def test_the_ensemble_joins_the_three_networks_of_table_4_on_one_networks_proposals() -> None:
    spec, options = evaluation("snip_drfcn_dpn98_7ep_snip__ensemble")
    assert options.members == ("snip_drfcn_r101_7ep_snip", "snip_drfcn_dpn92_7ep_snip")
    assert {mini(member).experiment.detector for member in options.members} == {"d_rfcn_rcn"}
    for same in ("short_sides", "valid_ranges", "merge"):
        assert getattr(options, same) == getattr(spec.experiment.tests["flip"], same)
    joint = mini("snip_drfcn_dpn92_resnet101_joint_7ep_snip").experiment
    assert (joint.backbone, joint.region.second_backbone) == ("dpn92", "resnet101")
