"""A preset with COCO and VOC data side by side, each verified into its own place and held against official counts."""

import json
from argparse import Namespace
from pathlib import Path

import pytest
import tiny
from msgspec.structs import replace
from tiny_sets import INSTANCES, voc_object, write_images, write_instances, write_voc

from pipeline import config, paths
from pipeline.data.fetching.official import Comparison, compare_counts, counts_section
from pipeline.data.manifest import load_split
from pipeline.data.sources import verify_preset
from pipeline.data.verification_page import VOC_ELSEWHERE
from pipeline.errors import InputError
from pipeline.preset import Data, Source
from pipeline.stages import verify


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a preset with two COCO images, and two VOC images to train on and one to test."""
    monkeypatch.chdir(tmp_path)
    root = write_images(tmp_path / "images")
    files = [str(write_instances(tmp_path / f"instances_{name}2017.json", INSTANCES)) for name in ("train", "val")]
    boat, folder = [voc_object("boat", 1, 1, 9, 9)], str(tmp_path / "voc")
    write_voc(tmp_path / "voc/VOC2007", {"trainval": ["a"], "test": ["c"]}, {"a": boat, "c": boat})
    write_voc(tmp_path / "voc/VOC2012", {"trainval": ["b"]}, {"b": boat})
    train, val = (Source(images=str(root), annotations=file) for file in files)
    voc_train = Source(voc=folder, split="trainval", years=("2007", "2012"))
    voc = Data(kind="voc", train=voc_train, val=Source(voc=folder, split="test", years=("2007",)))
    return replace(tiny.PRESET, data=Data(kind="coco", train=train, val=val), datasets={"voc": voc}, factor=1.0)


def test_each_data_set_is_verified_into_its_own_place(both):
    coco, voc = verify_preset(both), verify_preset(both, "voc")
    assert (coco["kind"], voc["kind"]) == ("coco", "voc")
    assert [c["name"] for c in coco["categories"]] == ["cat", "dog"]
    assert [c["name"] for c in voc["categories"]] == ["boat"]
    assert len(load_split(paths.manifest("tiny"), "train")["images"]) == 2
    names = [image["file_name"] for image in load_split(paths.manifest("tiny", "voc"), "train")["images"]]
    assert names == ["VOC2007/JPEGImages/a.jpg", "VOC2012/JPEGImages/b.jpg"]


def test_an_experiment_sees_its_own_data(both):
    found = config.resolve("dst_voc_frcnn_r50_fpn_24k", "mini")
    voc, coco = replace(found, preset=both), replace(tiny.spec("dst_frcnn_r50_fpn_1x"), preset=both)
    assert voc.data == both.datasets["voc"]
    assert coco.data == both.data
    assert voc.manifest == Path("data/interim/tiny/voc/manifest.json")
    assert coco.manifest == Path("data/interim/tiny/manifest.json")
    assert found.data == found.preset.data  # mini: ScaleWorld for both, verified into both places
    assert found.manifest == Path("data/interim/mini/voc/manifest.json")


def test_a_mistake_names_the_part_of_the_preset(both):
    broken = replace(both, datasets={"voc": replace(both.datasets["voc"], val=Source(split="test"))})
    with pytest.raises(InputError, match=r"presets/tiny\.yaml: datasets\.voc\.val must name `voc`"):
        verify_preset(broken, "voc")
    verify_preset(broken)  # tables on COCO do not wait for it


def test_counts_are_held_against_the_publishers(both):
    found = compare_counts(both.data, verify_preset(both))
    assert found == [
        Comparison("train", "instances_train2017.json", 2, 0, 118_287),
        Comparison("val", "instances_val2017.json", 2, 0, 5_000),
    ]
    joined = compare_counts(both.datasets["voc"], verify_preset(both, "voc"))
    assert [(c.name, c.here, c.published) for c in joined] == [
        ("VOC 2007+2012 trainval", 2, 16_551),
        ("VOC 2007 test", 1, 4_952),
    ]
    text = counts_section(found)
    assert "| train | instances_train2017.json | 2 | 118287 | instances_train2017.json has 2 images; " in text
    assert counts_section([]) == ""


def test_images_that_were_left_out_are_counted(both):
    content = INSTANCES | {"images": [*INSTANCES["images"], {"id": 99, "file_name": "x.png", "width": 1, "height": 1}]}
    write_instances(Path(both.data.val.annotations), content)
    preset = replace(both, data=replace(both.data, missing_images="exclude"))
    found = compare_counts(preset.data, verify_preset(preset))[1]
    assert (found.here, found.left_out) == (2, 1)
    assert "has 3 images, 1 of them without a file; its publisher counts 5000" in found.sentence


def test_a_whole_split_agrees_and_unknown_ones_are_not_compared(both):
    assert Comparison("val", "n", 5, 0, 5).agrees
    assert not Comparison("val", "n", 5, 1, 5).agrees
    own = replace(both.data, train=replace(both.data.train, annotations="mine.json"))
    assert [c.split for c in compare_counts(own, verify_preset(both))] == ["val"]
    other = replace(both.datasets["voc"], train=Source(voc="v", split="trainval", years=("2010",)))
    assert [c.split for c in compare_counts(other, verify_preset(both, "voc"))] == ["val"]


def test_the_stage_warns_and_shows_it_on_the_page(both, monkeypatch, capsys):
    monkeypatch.setattr(config, "load_preset", lambda name: both)
    verify.main(Namespace(preset="tiny", dataset="voc"))
    said = capsys.readouterr().err
    assert said.splitlines()[1].startswith("warning: VOC 2007+2012 trainval has 2 images; its publisher counts 16551")
    page = paths.data_page("tiny", "voc").read_text()
    assert json.loads(paths.manifest("tiny", "voc").read_text())["kind"] == "voc"
    assert page.startswith("# Data of the rows on PASCAL VOC, preset")
    assert VOC_ELSEWHERE not in page
    monkeypatch.setattr(config, "load_preset", lambda name: replace(both, datasets=None))
    verify.main(Namespace(preset="tiny", dataset="voc"))
    assert VOC_ELSEWHERE in paths.data_page("tiny", "voc").read_text()
    assert page.index("## Categories") < page.index("## Against the publishers' counts")
