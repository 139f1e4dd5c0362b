"""The comparison on own data: what could have been seen comes first, and nothing below it is advice."""

import pytest

from pipeline import paths
from pipeline.files import write_json
from pipeline.own.page import advice, chance, compare_page, told, write_comparison
from pipeline.reporting.tables import write_table
from pipeline.verdicts.estimates import estimate_gain
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import Judged, Word
from pipeline.verdicts.table_lines import Method, methods_of

NONE = (None, None, None, "not run")


def method(name: str, **gains: tuple[float | None, float | None, float | None, str]) -> Method:
    every = dict.fromkeys(("ap", "ap_small", "ap_medium", "ap_large"), (0.5, -1.0, 2.0, "undecided")) | gains
    judged = {metric: Judged(*numbers, Word(word)) for metric, (*numbers, word) in every.items()}
    return Method(name, "dst_t2", name, "base", 30.0, judged, {})


def statistics() -> None:
    split = {"images": 300, "object_counts": {"small": 50, "medium": 30, "large": 20}}
    write_json(paths.statistics("mini"), {"splits": {"val": split, "train": split}})


def test_nothing_below_the_interval_is_advice():
    lines = advice([method("DST"), method("MSFM", ap=(5.0, -0.1, 10.1, "undecided"))])
    assert lines[0] == "**Stay with the baseline**, or look longer: of no method can it be told that it helps here."
    sizes = ("All", "Small", "Medium", "Large")
    assert lines[1:] == [f"{size} objects: cannot tell: DST and MSFM." for size in sizes]


def test_the_largest_gain_that_can_be_told_and_hurts_no_size_is_advised():
    first = method("DST", ap=(2.0, 1.0, 3.0, "agrees"), ap_small=(4.0, 2.0, 6.0, "decided up"))
    second = method("MSFM", ap=(3.0, 0.5, 5.5, "decided up"))
    lines = advice([first, second])
    assert lines[0].startswith("**Use MSFM**: +3.0 [+0.5, +5.5] points of AP; it hurts no object size")
    assert lines[1] == "All objects: helps: MSFM +3.0 [+0.5, +5.5]; DST +2.0 [+1.0, +3.0]."
    assert lines[2] == "Small objects: helps: DST +4.0 [+2.0, +6.0]. cannot tell: MSFM."
    # a method that hurts a size is not advised
    mixed = method("SNIP", ap=(3.0, 1.0, 5.0, "agrees"), ap_large=(-4.0, -6.0, -2.0, "contradicts"))
    lines = advice([mixed, method("DST", ap_small=(2.0, 1.0, 3.0, "agrees"))])
    assert lines[0].startswith("**Use DST where small objects matter**: +2.0 [+1.0, +3.0] points for these")
    assert "Large objects: hurts: SNIP -4.0 [-6.0, -2.0]. cannot tell: DST." in lines
    assert told([mixed], "ap", 1) == [mixed]
    assert told([mixed], "ap", -1) == []
    # comparisons by chance are counted
    assert advice([method("x", ap=NONE, ap_small=NONE, ap_medium=NONE, ap_large=NONE)]) == ["Nothing was run yet."]
    assert chance([method("x"), method("y", ap=NONE)]).startswith("7 comparisons with an interval: if no method did")
    assert "about 0.4 would" in chance([method("x"), method("y", ap=NONE)])
    assert chance([]) == "No comparison has an interval yet."


def test_a_page_from_results(fake):
    statistics()
    fake.dst(gain=0.05)
    fake.noise(sd=0.005, dof=4)
    write_table("dst_t2", "mini", headline=True)
    (dst,) = [found for found in methods_of("mini", ["dst_t2"], headline=True) if found.name == "DST"]
    results = Results("mini")
    found = estimate_gain(results, dst.evaluation, dst.baseline, "ap")
    assert (found.sd_images, found.blocks, found.dof) == (pytest.approx(0.0), 5, 4)
    assert dst.gains["ap"].half_width == pytest.approx(100 * found.half_width(), abs=0.06)  # cells have one decimal
    write_comparison("mini")
    page = paths.compared("mini").read_text()
    assert page == compare_page(results)
    first = page.split("\n\n")[1]
    start = "**The smallest difference that 300 validation images and 5 trainings of each experiment can show:"
    assert first.startswith(start)
    assert f"all objects {100 * found.half_width():.1f}" in first
    assert "| small | 50 |" in page
    assert "| all objects | 100 |" in page
    assert "- **Use DST**: +5.0" in page
    assert "| all objects | 0 | 2.0 | 2.0 | 0.7 | 0.7 |" in page  # all of the variance is the trainings'
    assert "multi-scale training" in page


def test_without_results_or_noise_nothing_is_told(fake):
    page = compare_page(Results("mini"))
    assert "an unknown number of validation images" in page
    assert "- Nothing was run yet." in page
    statistics()
    fake.dst(gain=0.3)
    write_table("dst_t2", "mini", headline=True)
    page = compare_page(Results("mini"))
    assert "300 validation images and 1 training of each experiment can show: all objects n/a" in page
    assert "Raise `blocks` in workflow/presets/mini.yaml to 3 or more" in page
    assert "**Stay with the baseline**" in page
    assert "+30.0 cannot tell" in page
    assert "Unknown, as the noise is." in page


def test_a_weak_baseline_is_said(fake):
    fake.evaluation("dst_frcnn_r50_fpn_1x", 0.05, ap50=0.1)
    fake.evaluation("dst_frcnn_r50_fpn_1x_dst", 0.15)
    fake.training("dst_frcnn_r50_fpn_1x_dst", 0.4)
    fake.noise()
    write_table("dst_t2", "mini", headline=True)
    page = compare_page(Results("mini"))
    assert "The baselines reach AP50 10.0 to 10.0; below 20 nothing is told of a method: train longer." in page
    assert "cannot tell (the baseline learnt too little): DST" in page
    assert "can show: all objects n/a, small n/a" in page  # an interval of networks that learnt nothing is no promise
    assert "left out: the baseline's AP50 is below 20" in page
    assert "Unknown, as the noise is." in page
