"""Boundaries of small and large objects: COCO's, thirds of the data by hand, and lengths that are none."""

import re

import pytest
import tiny
from msgspec.structs import replace
from test_compare_page import scored

from pipeline import config, paths
from pipeline.errors import InputError
from pipeline.evaluation.protocol import scaled_area_ranges
from pipeline.object_sizes import area_ranges, counts, read, sentence, sides, thirds
from pipeline.own.detectors import PLAIN, ClassResults
from pipeline.own.page import compare_page
from pipeline.reporting.index_page import sizes_section
from pipeline.settings import preset_settings, settings


def objects(*lengths: float, crowds: tuple[float, ...] = ()) -> list[dict]:
    """Return objects of some sides, and crowds of others."""
    return [{"area": side**2, "iscrowd": int(n >= len(lengths))} for n, side in enumerate((*lengths, *crowds))]


def own(*ends: float):
    return replace(tiny.PRESET, sizes=ends)


@pytest.mark.parametrize(
    ("lengths", "expected", "parts"),
    [
        ((1, 2, 3, 4, 5, 6), (2.5, 4.5), (2, 2, 2)),
        ((9, 1, 5), (3.0, 7.0), (1, 1, 1)),
        ((10, 20, 30, 40, 50, 60, 70), (25.0, 55.0), (2, 3, 2)),
        ((1, 1, 1, 1, 1, 1, 1, 1, 2, 3), (1.5, 2.5), (8, 1, 1)),  # what is of one size stays together
        ((1, 2, 2, 2, 2, 2, 2, 2, 2, 3), (1.5, 2.5), (1, 8, 1)),
        ((1, 2, 3, 3, 3, 3, 3, 3, 3, 3), (1.5, 2.5), (1, 1, 8)),
        ((1.0, 1.001, 1.002), (1.0005, 1.0015), (1, 1, 1)),  # a hundredth of a pixel would not part these
    ],
)
def test_thirds_of_the_objects(lengths, expected, parts):
    found = thirds(objects(*lengths, crowds=(0.1, 0.2, 0.3, 0.4)))
    assert found == pytest.approx(expected)
    assert tuple(counts(objects(*lengths, crowds=(5.0,)), own(*found)).values()) == parts


@pytest.mark.parametrize(
    ("lengths", "said"), [((), "the 0 to train on have 0"), ((7,) * 5, "the 5 to train on have 1")]
)
def test_objects_of_fewer_than_three_sizes(lengths, said):
    with pytest.raises(InputError, match=rf"^SIZES=thirds needs objects of three sizes, but {said}; take SIZES=coco"):
        thirds(objects(*lengths))
    with pytest.raises(InputError, match="the 3 to train on have 2; take"):
        thirds(objects(7, 8, 8))


def test_what_sizes_may_say():
    assert [read(text) for text in ("coco", "thirds", "17,41.5", "[17, 41.5]")] == [
        "coco",
        "thirds",
        (17.0, 41.5),
        (17.0, 41.5),
    ]
    for text in ("", "COCO", "41", "41,17", "17,17", "0,5", "-1,5", "1,inf", "nan,5", "1,2,3", "a,b", "1,1e7"):
        with pytest.raises(InputError, match=re.escape(f"SIZES is {text!r}, but must be coco, thirds, or two lengths")):
            read(text)


def test_without_the_key_sizes_are_cocos():
    for factor in (0.1, 0.25, 0.6, 1.0, 2.0):
        preset = replace(tiny.PRESET, original_factor=factor)
        assert area_ranges(preset) == scaled_area_ranges(factor)
        assert sides(preset) == (32 * factor, 96 * factor)
    assert area_ranges(own(3, 5)) == {"small": (0.0, 9), "medium": (9, 25), "large": (25, 1e10)}
    assert sentence(own(3.25, 5)).startswith("Small is below 3.25 px, large from 5 px")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([41, 17], "two lengths in pixels, the smaller one first, got [41.0, 17.0]"),
        ([5, 5], "the smaller one first"),
        ([0, 5], "> 0.0"),
        ([1, float("inf")], "<= 1000000.0"),
        ([1], "of length 2"),
        ("thirds", "'thirds'"),
    ],
)
def test_a_preset_with_sizes_that_are_none(project, value, said):
    path = paths.preset_file("own")
    path.write_text(
        f"name: own\ntitle: own\nfactor: 1.0\ndata: {{kind: coco}}\nsizes: {value}\n".replace("inf", ".inf")
    )
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        config.load_preset("own")
    assert str(caught.value).count("\n") == 0


def test_no_stage_but_scores_by_class_and_pages_depend_on_them():
    """Absent, the key is in no digest; given, nothing is trained, predicted or scored for the papers' tables again."""
    before = tiny.spec("dst_frcnn_r50_fpn_1x")
    after = tiny.changed(before, preset={"sizes": (3.0, 5.0)})
    for script in ("pretrain", "train", "predict", "evaluate", "measure"):
        assert settings(before, script) == settings(after, script)
        assert not any("sizes" in line for line in settings(before, script))
    assert not any("sizes" in line for line in settings(before, "per_class"))
    assert "preset.sizes: [3.0, 5.0]" in settings(after, "per_class")
    assert "preset.sizes: [3.0, 5.0]" in preset_settings(after.preset, "verify")
    assert preset_settings(after.preset, "synthesize") == preset_settings(before.preset, "synthesize")


def test_pages_say_the_sizes_that_were_used(fake):
    scored(PLAIN, 0.5)
    results = ClassResults("mini")
    said = "Small is below 8 px, large from 24 px (square root of the area) in the files' own pixels."
    assert said in compare_page(results)
    assert "| Object sizes | small below 8.0 px, large from 24.0 px |" in sizes_section(results)
    results.preset = replace(results.preset, sizes=(10.25, 123.75))
    assert "Small is below 10.25 px, large from 123.75 px (square root" in compare_page(results)
    assert "small below 8.0 px, large from 24.0 px; in data.md and compare.md below 10.25 px" in sizes_section(results)
