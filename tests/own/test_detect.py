"""Detecting in a folder: the numbers of the stage `predict`, from an experiment and from an exported folder alone."""

import csv
import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from pipeline import config, paths
from pipeline.data.manifest import load_manifest, load_split
from pipeline.errors import InputError
from pipeline.files import read_json, write_json
from pipeline.models import build_detector
from pipeline.own import detect
from pipeline.own.suggested import suggested, suggested_by_test
from pipeline.prediction import release, released
from pipeline.prediction.detector import predict
from pipeline.prediction.folder import PictureFolder, find_pictures
from pipeline.prediction.release import write_release
from pipeline.spec import Spec
from pipeline.stages import detect as stage
from pipeline.training.checkpoint import save_weights

NAME = "dst_frcnn_r50_fpn_1x_dst"


@pytest.fixture
def spec(tiny_project) -> Spec:
    """Return an experiment with random weights in the place of trained ones, and a test of three resolutions."""
    found = tiny.spec(NAME)
    pyramid = config.resolve("snip_drfcn_r50_7ep_snip", "mini").experiment.tests["ms_test"]
    found = tiny.changed(found, experiment={"tests": found.experiment.tests | {"pyramid": pyramid}})
    torch.manual_seed(3)
    classes = len(load_manifest(found.manifest).categories)
    save_weights(paths.weights("tiny", NAME), build_detector(found, classes).state_dict())
    return found


@pytest.fixture
def photos(spec, tmp_path) -> Path:
    """Return a folder with the validation pictures, in the order of their ids, and a file that is none."""
    split = load_split(spec.manifest, "val")
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for number, entry in enumerate(split["images"]):
        place = folder / "below" if number < 2 else folder
        shutil.copyfile(Path(split["images_root"]) / entry["file_name"], place / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def thresholds(names: list[str], f1: float = 0.8) -> None:
    """Write results by class: the first class has a threshold of 0.2, of the second nothing was found."""
    found = {"1": {"threshold": 0.2, "f1": f1}, "2": {"threshold": 0.5, "f1": 0.0}}
    categories = [{"id": number, "name": name} for number, name in enumerate(names[:2], start=1)]
    about = {"categories": categories, "thresholds": found, "ap": 0.1234}
    write_json(paths.metrics("tiny", paths.per_class_name(NAME)), about)


@pytest.mark.parametrize("test", ["single", "pyramid"])
def test_numbers_are_those_of_predict(spec, photos, tmp_path, monkeypatch, test):
    predict(spec, test)
    here = read_json(paths.detections("tiny", paths.evaluation_name(NAME, test)))
    ids = {entry["id"]: n for n, entry in enumerate(load_split(spec.manifest, "val")["images"], start=1)}
    expected = sorted([row | {"image_id": ids[row["image_id"]]} for row in here], key=str)
    detect.detect_folder(detect.trained_detector(spec, test), photos, tmp_path / "out")
    found = read_json(tmp_path / "out/detections.json")
    images = {one["id"]: one["file_name"] for one in read_json(tmp_path / "out/images.json")["images"]}
    back = {number: int(Path(name).stem) + 1 for number, name in images.items()}
    assert expected
    assert sorted([row | {"image_id": back[row["image_id"]]} for row in found], key=str) == expected
    write_release(spec, tmp_path / "released")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # without params.yaml, data and results
    words = ["--from", str(tmp_path / "released"), "--test", test, "--images", str(photos), "--out", "alone"]
    run(monkeypatch, *words)
    assert read_json("alone/detections.json") == found


def run(monkeypatch, *words: str) -> None:
    """Run the stage's command line."""
    monkeypatch.setattr(sys, "argv", ["detect", *words])
    stage.run(stage.main, "", extend=stage.extend, instead="released")


def test_what_is_written_and_shown(spec, photos, tmp_path):
    names = load_manifest(spec.manifest).category_names
    thresholds(names)
    detector = detect.trained_detector(spec, "single")
    assert detector.thresholds == {names[0]: 0.2}
    detector.thresholds[names[0]] = 0.0  # random weights are sure of nothing
    said = detect.detect_folder(detector, photos, tmp_path / "out")
    results = read_json(tmp_path / "out/detections.json")
    rows = list(csv.DictReader((tmp_path / "out/detections.csv").open()))
    assert len(rows) == len(results)
    shown = {True: "yes", False: "no"}
    for row, one in zip(rows, results, strict=True):
        assert row["class"] == names[one["category_id"] - 1]
        assert row["shown"] == shown[one["category_id"] == 1 or one["score"] >= detect.PLAIN]
        assert float(row["width"]) == one["bbox"][2]
    drawn = sorted(
        p.relative_to(tmp_path / "out/pictures").as_posix() for p in (tmp_path / "out/pictures").rglob("*.*")
    )
    assert drawn == ["2.png.jpg", "3.png.jpg", "below/0.png.jpg", "below/1.png.jpg"]
    with Image.open(tmp_path / "out/pictures/2.png.jpg") as image:
        assert max(image.size) == detect.SHORTEST
    assert said[0].startswith("1 other file in")
    assert any(names[1] in line and "plain default" in line for line in said)


def test_the_exported_folder_holds_the_suggestions(spec, photos, tmp_path):
    names = load_manifest(spec.manifest).category_names
    assert suggested_by_test(spec) == {}
    thresholds(names)
    write_release(spec, tmp_path / "released", suggested_by_test(spec))
    content = json.loads((tmp_path / "released/config.json").read_text())
    assert content["thresholds"] == {"single": {names[0]: 0.2}}
    assert "best F1 on the validation pictures" in content["thresholds_are"]
    card = (tmp_path / "released/README.md").read_text()
    assert f"{names[0]} 0.20" in card
    assert "| `single` | 12.3 |" in card
    assert released.load(tmp_path / "released").thresholds == {names[0]: 0.2}
    assert released.load(tmp_path / "released", "pyramid").thresholds == {}
    del content["thresholds"], content["thresholds_are"], content["levels"]  # as folders were before
    write_json(tmp_path / "released/config.json", content)
    assert released.load(tmp_path / "released").thresholds == {}
    thresholds(names, f1=0.0)
    assert suggested("tiny", NAME) == {}
    write_json(paths.metrics("tiny", paths.per_class_name(NAME)), [])
    with pytest.raises(InputError, match="run the per_class stage again"):
        suggested("tiny", NAME)


def test_a_card_shows_names_as_they_are():
    assert "score of a&#124;b 0.20, \\*x\\* 0.30: " in release.suggestions({"single": {"a|b": 0.2, "*x*": 0.3}})


def test_results_inside_the_folder_are_not_detected_in(spec, photos):
    detector = detect.trained_detector(spec, "single")
    detect.detect_folder(detector, photos, photos / "out")
    detect.detect_folder(detector, photos, photos / "out")
    assert len(read_json(photos / "out/images.json")["images"]) == 4


def test_pictures_whose_drawings_would_have_one_name_are_both_drawn(spec, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "a.png.jpg"):
        Image.new("RGB", (60, 40)).save(folder / name)
    detect.detect_folder(detect.trained_detector(spec, "single"), folder, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out/pictures").iterdir()) == ["a.png.jpg", "a.png.jpg.jpg"]


def test_one_picture_without_a_detection(spec, tmp_path):
    Image.new("RGB", (1, 700)).save(tmp_path / "thin.PNG")
    detector = detect.trained_detector(spec, "single")
    said = detect.detect_folder(detector, tmp_path / "thin.PNG", tmp_path / "out")
    assert said[0].startswith("1 picture, 0 of ")
    assert (tmp_path / "out/pictures/thin.PNG.jpg").is_file()


def test_pictures_are_seen_as_in_training(spec, tmp_path, monkeypatch):
    """Twelve of sixteen bits, and a picture that is stored turned."""
    grey = np.arange(6 * 4, dtype=np.uint16).reshape(6, 4) * 170
    Image.fromarray(grey).save(tmp_path / "deep.png")
    turned = Image.new("RGB", (8, 4))
    turned.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    folder = PictureFolder(tmp_path, ["deep.png", "turned.png"], 4096.0, True, 100.0)
    assert torch.equal(folder.image(0)[0], torch.from_numpy((grey // 16).astype(np.uint8)))
    assert folder.size(1) == (8, 4) == tuple(folder.image(1).shape[1:])
    stored = PictureFolder(tmp_path, ["turned.png"], 4096.0, False, 100.0)
    assert stored.size(0) == (4, 8) == tuple(stored.image(0).shape[1:])
    split = load_split(spec.manifest, "val")
    split["images"][1]["levels"] = 4096.0
    monkeypatch.setattr(release, "load_split", lambda *_: split)
    write_release(spec, tmp_path / "released")
    assert released.load(tmp_path / "released").levels == 4096.0
    assert released.load(tmp_path / "released").detect is not None


@pytest.mark.parametrize(
    ("train", "val", "rule"),
    [
        ({}, {}, "auto"),
        ({"exif_ignored": 3}, {}, "stored"),
        ({"exif_ignored": 3}, {"exif_rotated": 1}, "auto"),
        ({"exif_rotated": 3}, {}, "auto"),
    ],
)
def test_turned_pictures_are_seen_as_training_s_data_was_found_to_be(spec, monkeypatch, train, val, rule):
    manifest = load_manifest(spec.manifest)
    splits = {name: manifest.splits[name] | {"excluded": one} for name, one in (("train", train), ("val", val))}
    monkeypatch.setattr(release, "load_manifest", lambda path: dataclasses.replace(manifest, splits=splits))
    assert release.bare(spec).preset.data.exif == rule
    assert detect.trained_detector(spec, "single").spec.preset.data.exif == rule


def test_bad_input_is_one_sentence(spec, photos, tmp_path, monkeypatch, capsys):
    def refused(*words: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(monkeypatch, *words)
        assert ended.value.code == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        return lines[0]

    write_release(spec, tmp_path / "released")
    known = ("--from", str(tmp_path / "released"), "--out", str(tmp_path / "out"), "--images")
    assert "nowhere does not exist" in refused(*known, str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert "empty holds no picture" in refused(*known, str(tmp_path / "empty"))
    (tmp_path / "empty/notes.txt").write_text("words")
    (tmp_path / "empty/._a.png").write_text("a Mac's")
    assert "empty holds 1 file, but no picture" in refused(*known, str(tmp_path / "empty"))
    assert "1 of 1 pictures" in refused(*known, str(tmp_path / "empty/notes.txt"))
    whole = (photos / "2.png").read_bytes()
    for number in range(7):
        (photos / f"bad{number}.png").write_bytes(whole[: len(whole) // 2])
    said = refused(*known, str(photos))
    assert "7 of 11 pictures" in said
    assert "bad4.png" in said
    assert "bad5.png" not in said
    assert "and 2 more" in said
    assert not (tmp_path / "out").exists()
    assert "one of the two" in refused("--images", str(photos), "--preset", "mini")
    assert "one of the two" in refused(NAME, *known, str(photos))
    assert f"write {NAME}__pyramid" in refused(NAME, "--test", "pyramid", "--images", "x", "--preset", "mini")
    assert "is no folder" in refused("--from", str(tmp_path / "away"), "--images", str(photos))
    with pytest.raises(InputError, match=r"has no test 'singel'; did you mean 'single'"):
        detect.trained_detector(spec, "singel")
    with pytest.raises(InputError, match="was not trained"):
        detect.trained_detector(tiny.spec("pod_frcnn_r50_fpn_1x"), "single")


def test_names_that_pictures_have(tmp_path):
    for name in ("b.JPG", "a.tif", ".hidden.png", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    assert find_pictures(tmp_path) == (tmp_path, ["a.tif", "b.JPG"], 1)
