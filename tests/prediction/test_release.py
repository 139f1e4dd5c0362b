"""A finished detector as a folder: what is in it, and that it detects elsewhere as the stage `predict` does here."""

import json
import sys
import types

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from pipeline import config, paths
from pipeline.data.detection_set import DetectionSet
from pipeline.data.manifest import load_manifest, load_split
from pipeline.errors import InputError
from pipeline.files import read_json, write_json
from pipeline.models import build_detector
from pipeline.prediction import released
from pipeline.prediction.detector import coco_results, predict
from pipeline.prediction.release import card, suggestions, write_release
from pipeline.spec import Spec
from pipeline.training.checkpoint import save_weights

SCALES = {"layer2.0": [1.5, 1.5], "layer3.0": [0.4, 1.0], "layer4.0": [3.0, 3.0]}
CASES = [  # and what their tests need: plain, learnt scales, masks, several resolutions with ranges and mirror images
    ("dst_frcnn_r50_fpn_1x_dst", "single"),
    ("pod_frcnn_r50_fpn_1x_fd", "single"),
    ("dst_mask_rcnn_r50_fpn_1x_dst", "single"),
    ("dst_frcnn_r50_fpn_1x_dst", "pyramid"),
]


def finished(name: str) -> Spec:
    """Return an experiment with random weights in the place of trained ones, and a further test."""
    spec = tiny.spec(name)
    pyramid = config.resolve("snip_drfcn_r50_7ep_snip", "mini").experiment.tests["ms_test"]
    spec = tiny.changed(spec, experiment={"tests": spec.experiment.tests | {"pyramid": pyramid}})
    torch.manual_seed(3)
    scales = {key: tuple(pair) for key, pair in SCALES.items()} if spec.experiment.method.decomposed else None
    classes = len(load_manifest(spec.manifest).categories)
    metadata = {"scales": json.dumps(SCALES)} if scales else {}
    save_weights(paths.weights("tiny", name), build_detector(spec, classes, scales).state_dict(), metadata)
    return spec


@pytest.mark.parametrize(("name", "test"), CASES)
def test_it_detects_elsewhere_what_predict_detects_here(tiny_project, tmp_path, monkeypatch, name, test):
    spec = finished(name)
    predict(spec, test)
    here = read_json(paths.detections("tiny", paths.evaluation_name(name, test)))
    data = DetectionSet(load_split(spec.manifest, "val"))
    files = [(data.root / entry["file_name"]).resolve() for entry in data.entries]
    folder = tmp_path / "released"
    write_release(spec, folder)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # without data, presets and results
    found = released.load(folder, test)(files)
    results = [
        {"image_id": entry["id"], "category_id": label, "score": round(score, 6)}
        for entry, one in zip(data.entries, found, strict=True)
        for label, score in zip(one["labels"].tolist(), one["scores"].tolist(), strict=True)
    ]
    assert here
    assert results == [{key: row[key] for key in ("image_id", "category_id", "score")} for row in here]
    boxes = [result["bbox"] for entry, one in zip(data.entries, found, strict=True)
             for result in coco_results(entry["id"], {n: one[n] for n in ("boxes", "scores", "labels")})]  # fmt: skip
    assert boxes == [row["bbox"] for row in here]
    first = next(one for one in found if one["names"])
    assert set(first["names"]) <= set(load_manifest(tiny_project / spec.manifest).category_names)
    if spec.experiment.has_masks:
        assert first["masks"].shape == (len(first["scores"]), *data.size(found.index(first)))


def test_what_is_in_the_folder(tiny_project, tmp_path):
    name = "dst_frcnn_r50_fpn_1x_dst"
    spec = finished(name)
    numbers = {"experiment": name, "test": "single", "ap": 0.215, "ap50": 0.4, "ap_small": None}
    write_json(paths.metrics("tiny", name), numbers)
    paths.onnx("tiny", name).write_bytes(b"onnx")
    folder = tmp_path / "out/released"
    write_release(spec, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "backbone.onnx",
        "config.json",
        "model.safetensors",
    ]
    assert (folder / "model.safetensors").read_bytes() == paths.weights("tiny", name).read_bytes()
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: scalewise\npipeline_tag: object-detection\n")
    assert "| `single` | 21.5 | 40.0 | n/a | n/a |" in card
    content = read_json(folder / "config.json")
    assert content["classes"] == load_manifest(spec.manifest).category_names
    assert str(tiny_project) not in json.dumps(content)
    assert content["spec"]["experiment"]["method"]["collage"]["threshold"] == spec.experiment.method.collage.threshold


def test_a_card_shows_names_of_classes_as_they_are(tiny_project):
    text = card(finished("dst_frcnn_r50_fpn_1x"), ["a*b*", "car|bus", "<b>"], {})
    assert "3 classes: a\\*b\\*, car&#124;bus, \\<b>." in text
    assert "a\\*b\\* 0.50" in suggestions({"single": {"a*b*": 0.5}})


def test_pictures_of_every_form(tiny_project, tmp_path):
    spec = finished("dst_frcnn_r50_fpn_1x_dst")
    write_release(spec, tmp_path / "released")
    detector = released.load(str(tmp_path / "released"))
    array = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    for picture in (tmp_path / "a.png", str(tmp_path / "a.png"), array, torch.from_numpy(array).permute(2, 0, 1)):
        assert torch.equal(released.pixels(picture), torch.from_numpy(array).permute(2, 0, 1))
    assert detector([]) == []
    for wrong in (array[..., 0], torch.zeros(3, 4, 4), np.zeros((4, 4, 4), dtype=np.uint8)):
        with pytest.raises(InputError, match="A picture must be a file, an array"):
            detector([wrong])
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"Picture .*b.png cannot be read"):
        detector([tmp_path / "b.png"])


def test_torch_hub_finds_it(tiny_project, tmp_path):
    write_release(finished("dst_frcnn_r50_fpn_1x_dst"), tmp_path / "released")
    detector = torch.hub.load(str(paths.ROOT), "detector", str(tmp_path / "released"), source="local")
    assert isinstance(detector, released.Detector)


def test_a_name_that_is_no_folder_is_asked_of_the_hub(tiny_project, tmp_path, monkeypatch):
    write_release(finished("dst_frcnn_r50_fpn_1x_dst"), tmp_path / "released")
    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download = lambda name, allow_patterns: {"me/mine": str(tmp_path / "released")}[name]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert released.load("me/mine").classes
    with pytest.raises(InputError, match="me/other is no folder, and Hugging Face's hub does not give it"):
        released.load("me/other")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="pip install huggingface_hub, or correct the name"):
        released.load("me/mine")


def test_mistakes_are_one_sentence(tiny_project, tmp_path):
    spec = tiny.spec("dst_frcnn_r50_fpn_1x_dst")
    with pytest.raises(InputError, match=r"was not trained under preset tiny .* run `dvc repro`"):
        write_release(spec, tmp_path / "released")
    with pytest.raises(InputError, match="is a classifier, which finds no objects by itself"):
        write_release(tiny.spec("resnet50"), tmp_path / "released")
    write_release(finished("dst_frcnn_r50_fpn_1x_dst"), tmp_path / "released")
    with pytest.raises(InputError, match=r"has no test 'singel'; did you mean 'single'\?"):
        released.load(tmp_path / "released", "singel")
    (tmp_path / "released/config.json").write_text("[]")
    with pytest.raises(InputError, match=r"does not hold what it should .* release the detector anew"):
        released.load(tmp_path / "released")
