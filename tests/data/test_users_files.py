"""Annotation files as people bring them: encodings, names, lists and ids; read as they are meant, or the cure."""

import gzip
import json
import shutil
import unicodedata
from argparse import Namespace

import pytest
from msgspec.structs import replace
from PIL import Image
from tiny import PRESET
from tiny_sets import instances, normalised, verify_one, voc_object, write_instances, write_voc

from pipeline import cli, config, paths
from pipeline.data.verify import Source, verify
from pipeline.data.voc import read_voc
from pipeline.errors import InputError
from pipeline.files import read_json, read_text, read_yaml
from pipeline.preset import Data
from pipeline.preset import Source as Named
from pipeline.stages import verify as stage

# Text files


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_and_line_ends_of_windows_are_read(folder, encoding):
    path = folder / "a.json"
    path.write_bytes(json.dumps(instances(), indent=1).replace("\n", "\r\n").encode(encoding))
    assert read_json(path) == instances()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (gzip.compress(b"{}", mtime=0), r"is packed \(gzip\); unpack it and name the file that comes out\.$"),
        (b'{"images": 1}\n{"images": 2}\n', r"another JSON value from line 2, column 1 on \(JSON lines, .*join them"),
        (b"[" * 100_000, r"is no JSON that can be read: .*; repair or re-download it\.$"),
    ],
)
def test_what_is_no_json_names_its_cure(tmp_path, content, sentence):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_json(tmp_path / "a")


@pytest.mark.parametrize("value", ["!!timestamp 2020-13-45", "!!int x", "!!float x", "2020-02-30", "!!bool x"])
def test_values_of_yaml_that_are_none(tmp_path, value):
    (tmp_path / "a.yaml").write_text(f"factor: {value}\n")
    with pytest.raises(InputError, match=r"holds a YAML value that cannot be read .*; repair it\.$"):
        read_yaml(tmp_path / "a.yaml")


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(InputError, match="cannot be read as a file: File name too long; correct the path"):
        read_text(tmp_path / ("x" * 300))


# Names of files and categories, ids


@pytest.mark.parametrize(("stored", "written"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_the_other_unicode_form_of_a_name(folder, stored, written):
    names = {form: unicodedata.normalize(form, "sub/Möwe é.png") for form in ("NFC", "NFD")}
    (folder / "images/b.png").rename(folder / "images" / names[stored])
    content = instances()
    content["images"][0]["file_name"] = names[written]
    verify_one(folder, content)
    assert normalised(folder)["images"][1]["file_name"] == names[stored]


def test_a_name_in_other_letters_is_named(folder):
    content = instances()
    content["images"][0]["file_name"] = "B.PNG"
    with pytest.raises(InputError, match=r"correct file_name \('b\.png' is there\)"):
        verify_one(folder, content)


@pytest.mark.parametrize("used", [(4, 4, 4), (9, 9, 9), (4, 9, 4)])
def test_two_ids_of_one_name_are_one_category(folder, used):
    content = instances()
    content["categories"] = [{"id": 9, "name": "cat\n"}, {"id": 4, "name": " cat"}]
    for annotation, key in zip(content["annotations"], used, strict=True):
        annotation["category_id"] = key
    manifest = verify_one(folder, content)
    assert manifest["categories"] == [{"id": 1, "original_id": min(used), "name": "cat"}]
    assert manifest["splits"]["train"]["excluded"] == {"joined_category": 1, "tidied_name": 2}
    assert manifest["splits"]["train"]["objects_per_category"] == [2]


def test_repeated_annotation_ids_get_others(folder):
    content = instances()
    content["annotations"][2]["id"] = 12
    assert verify_one(folder, content)["splits"]["train"]["excluded"] == {"repeated_id": 1}
    found = {one["id"]: one["bbox"][2] for one in normalised(folder)["annotations"]}
    assert found == {11: 20, 12: 10, 13: 40}


# PASCAL VOC


@pytest.fixture
def voc(tmp_path):
    objects = {name: [voc_object("fish", 1, 1, 5, 5)] for name in ("leaf", "leaf 0", "leaf 1", "Möwe", "one")}
    return write_voc(tmp_path / "voc", {"train": ["one"]}, objects)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"leaf 0\nleaf 1\n", ["leaf 0", "leaf 1"]),  # names, although leaf exists too
        (b"leaf  1\none -1\n", ["leaf", "one"]),  # a list of one class
        (b"leaf 1\none\n", ["leaf 1", "one"]),
        (b"\xef\xbb\xbfone\r\nleaf 0\r\n\r\n", ["one", "leaf 0"]),
        ("one\r\nleaf\r\n".encode("utf-16"), ["one", "leaf"]),
        (b"one.jpg\nleaf.PNG\n", ["one", "leaf"]),
        (b"one.xml\nleaf\n", ["one", "leaf"]),
        (b"._one\none\n", ["one"]),
        (unicodedata.normalize("NFD", "Möwe\n").encode(), ["Möwe"]),
    ],
)
def test_lists_are_read_as_people_mean_them(voc, text, names):
    (voc / "ImageSets/Main/train.txt").write_bytes(text)
    coco, counts, _ = read_voc(voc, "train")
    assert [image["file_name"] for image in coco["images"]] == [f"JPEGImages/{name}.jpg" for name in names]
    assert len(coco["annotations"]) == len(names)
    assert counts == ({"mac_companion": 1} if b"._" in text else {})


@pytest.mark.parametrize("suffix", [".BMP", ".TIF", ".Png", ".gif"])
def test_a_picture_of_another_suffix_is_found(voc, suffix):
    path = voc / "JPEGImages/one.jpg"
    Image.open(path).save(path.with_suffix(suffix))
    path.unlink()
    assert read_voc(voc, "train")[0]["images"][0]["file_name"] == f"JPEGImages/one{suffix}"


def test_without_lists_the_command_that_writes_one_is_named(voc):
    shutil.rmtree(voc / "ImageSets")
    with pytest.raises(InputError, match=r"has no lists of images .*; write train\.txt there.*`ls Annotations \| sed"):
        read_voc(voc, "train")


def test_a_list_on_one_line(voc):
    (voc / "ImageSets/Main/train.txt").write_text("000001 " * 50)
    with pytest.raises(InputError, match="File name too long"):
        read_voc(voc, "train")


@pytest.mark.parametrize(("written", "flag"), [("Unspecified", 0), ("", 0), ("True", 1), ("0", 0), ("1", 1)])
def test_difficult(voc, written, flag):
    path = voc / "Annotations/one.xml"
    path.write_text(path.read_text().replace("<difficult>0", f"<difficult>{written}"))
    assert read_voc(voc, "train")[0]["annotations"][0]["iscrowd"] == flag


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig"])
def test_annotations_say_their_own_encoding(voc, encoding):
    path = voc / "Annotations/one.xml"
    head = "" if encoding != "latin-1" else '<?xml version="1.0" encoding="ISO-8859-1"?>'
    path.write_bytes((head + path.read_text().replace("fish", "Möwe")).encode(encoding))
    assert read_voc(voc, "train")[0]["categories"] == [{"id": 1, "name": "Möwe"}]


# What verification says


def test_a_split_without_objects_is_refused(folder):
    train, val = instances(), instances() | {"annotations": instances()["annotations"][2:]}
    sources = {
        name: Source(write_instances(folder / f"{name}.json", content), folder / "images")
        for name, content in (("train", train), ("val", val))
    }
    with pytest.raises(InputError, match=r"val\.json has no usable box \(1 crowd .*nothing to score; check"):
        verify("tiny", "coco", sources, 1.0, folder / "out")
    assert not (folder / "out").exists()


def test_the_stage_says_what_it_read_before_anything_trains(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    content = instances()
    content["annotations"].append({"id": 20, "image_id": 7, "category_id": 4, "bbox": [1, 1, 0, 5]})
    content["categories"].append({"id": 5, "name": "bird"})
    sources = {
        name: Named(images="images", annotations=str(write_instances(folder / f"{name}.json", content)))
        for name in ("train", "val")
    }
    preset = replace(PRESET, data=Data("coco", **sources))
    monkeypatch.setattr(config, "load_preset", lambda name: preset)
    stage.main(Namespace(preset="tiny", dataset="coco"))
    out, err = capsys.readouterr()
    assert "train: 2 images (0 without objects), 2 objects (0 small, 1 medium, 1 large), 1 crowd or difficult" in out
    assert "warning: val: 1 of 4 x box with a zero" in err
    assert "warning: train: 1 of 3 categories have no object to train on: 'bird'" in err
    assert "warning: 2 image file(s) of another split also in train" in err
    assert paths.manifest("tiny").is_file()


def test_a_mistake_ends_with_code_2_and_one_sentence(folder, monkeypatch, capsys):
    (folder / "images/b.png").write_bytes(b"")
    with pytest.raises(SystemExit) as ended:
        cli.run(lambda options: verify_one(folder, instances()), "", arguments=["--preset", "tiny"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "image file 'b.png' is empty" in said
