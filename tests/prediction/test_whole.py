"""detector.onnx: every family's detections in ONNX Runtime, at any size, also none; what is checked and left out."""

import re
import sys

import onnx
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline import paths
from pipeline.errors import InputError
from pipeline.files import read_json
from pipeline.models import build_detector
from pipeline.options import Test
from pipeline.prediction import whole
from pipeline.prediction.release import write_release
from pipeline.prediction.whole import Difference, compare, export_whole, is_one_look, run_whole, write_onnx
from pipeline.stages import export as stage
from pipeline.training.checkpoint import save_weights

SCALES = {"layer2.0": (1.5, 1.5), "layer3.0": (0.4, 1.0), "layer4.0": (3.0, 3.0)}
PLAIN = "dst_frcnn_r50_fpn_1x_dst"
FAMILIES = [PLAIN, "pod_frcnn_r50_fpn_1x_fd", "psconv_frcnn_r50_fpn_1x_psconv", "msfm_frcnn_r50_fpn_1x_msfm"]
FURTHER = [
    "pod_retinanet_r50_fpn_1x",
    "pod_frcnn_r50_c4_1x_fd",
    "dst_frcnn_r101_dcn_fpn_1x",
    "dst_frcnn_x101_fpn_1x",
    "dst_mask_rcnn_r50_fpn_1x_dst",
    "psconv_cascade_mask_rcnn_r50_fpn_1x_psconv",
    "msfm_dynamic_rcnn_r50_fpn_1x",
    "msfm_grid_rcnn_r50_fpn_1x",
    "dst_fcos_r50_fpn_2x_dst",
    "msfm_reppoints_r50_fpn_1x",
]
SIZES = [(61, 107), (97, 80), (20, 33)]
SURE = 2.0  # no score is as high


def untrained(name: str, classes: int = 6) -> nn.Module:
    """Return a detector with random weights whose scores and boxes are far apart, as after training."""
    spec = tiny.spec(name)
    torch.manual_seed(0)
    model = build_detector(spec, classes, SCALES if spec.experiment.method.decomposed else None).eval()
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if name.endswith(("cls_score", "bbox_pred")):
            nn.init.normal_(module.weight, std=0.1 if name.endswith("cls_score") else 0.03)
        if name.endswith("grid_head.upsample"):  # else all pixels of a heatmap are nearly the highest
            for layer in (module[0], module[3]):
                nn.init.normal_(layer.weight)
        if name == "head.logits":
            nn.init.constant_(module.bias, -1.5)
            module.weight.data *= 30
    return model


def with_threshold(model: nn.Module, threshold: float) -> nn.Module:
    """Return the detector with another score threshold."""
    if hasattr(model, "head"):
        model.head.score_threshold = threshold
    else:
        for heads in getattr(model.roi_heads, "stages", [model.roi_heads]):
            heads.score_thresh = threshold
    return model


def pictures() -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.rand(3, *size, generator=generator) for size in SIZES]


def assert_same(model: nn.Module, path, images: list[Tensor]) -> list[int]:
    """Hold the file's detections to the detector's, row by row, and return their numbers."""
    with torch.inference_mode():
        expected = [model([image])[0] for image in images]
    for ours, theirs in zip(expected, run_whole(path, images), strict=True):
        assert theirs["labels"].dtype == torch.int64
        assert torch.equal(theirs["labels"], ours["labels"])
        for name in ("boxes", "scores"):
            torch.testing.assert_close(theirs[name], ours[name], atol=1e-3, rtol=0)
    return [len(found["scores"]) for found in expected]


@pytest.mark.parametrize("name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in FURTHER)])
def test_a_family_finds_the_same_at_every_size(tmp_path, name):
    model = untrained(name)
    write_onnx(model, tmp_path / "a.onnx", 6)
    assert max(assert_same(model, tmp_path / "a.onnx", pictures())) > 3


@pytest.mark.parametrize("name", [PLAIN, *(pytest.param(name, marks=pytest.mark.slow) for name in FURTHER)])
def test_nothing_is_found(tmp_path, name):
    model = untrained(name)
    write_onnx(with_threshold(model, SURE), tmp_path / "none.onnx", 6)
    assert assert_same(model, tmp_path / "none.onnx", pictures()) == [0, 0, 0]


def test_suppression_has_work_and_the_limit_too(tmp_path):
    model = untrained("pod_retinanet_r50_fpn_1x")
    head, iou = model.head, model.head.nms_iou
    head.detections = None
    counts = {}
    for head.nms_iou in (None, iou):
        with torch.inference_mode():
            counts[head.nms_iou] = [len(model([image])[0]["scores"]) for image in pictures()]
    assert sum(counts[None]) > 1.5 * sum(counts[iou])
    head.detections = counts[iou][0] - 3  # the first picture has more, others may have fewer
    write_onnx(model, tmp_path / "a.onnx", 6)
    found = assert_same(model, tmp_path / "a.onnx", pictures())
    assert found == [min(count, head.detections) for count in counts[iou]]


def test_same_bytes_without_paths_and_the_model_is_left_alone(tmp_path):
    model = untrained("psconv_frcnn_r50_fpn_1x_psconv")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for name in ("a", "b"):
        write_onnx(model, tmp_path / name, 6, {"test": "single"})
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    assert b".py" not in data
    file = onnx.load_from_string(data)
    assert {note.key: note.value for note in file.metadata_props} == {"test": "single"}
    assert [value.name for value in file.graph.output] == ["boxes", "labels", "scores"]
    assert [side.dim_param or side.dim_value for side in file.graph.input[0].type.tensor_type.shape.dim] == [
        3, "height", "width",
    ]  # fmt: skip
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_detections_are_compared_with_the_nearest(monkeypatch):
    def found(*rows: tuple[float, int, float]) -> dict[str, Tensor]:
        boxes = torch.tensor([[0.0, 0.0, x, 8.0] for x, _, _ in rows]).reshape(-1, 4)
        return {"boxes": boxes, "labels": torch.tensor([label for _, label, _ in rows], dtype=torch.int64),
                "scores": torch.tensor([score for _, _, score in rows])}  # fmt: skip

    ours = found((4.0, 1, 0.9), (5.0, 2, 0.8), (6.0, 2, 0.7))
    theirs = found((5.0, 2, 0.8), (4.00025, 1, 0.9), (6.0, 1, 0.7))  # in another order, and one of another label
    monkeypatch.setattr(whole, "run_whole", lambda *_: [theirs, found(), found((1.0, 1, 0.5))])
    answers = iter([ours, found(), found()])
    difference = compare(lambda images: [next(answers)], None, [torch.zeros(3, 2, 2)] * 3)
    assert difference == Difference(7, 3, pytest.approx(0.00025, rel=1e-2))


def finished(name: str, **experiment):
    """Return an experiment with random weights in the place of trained ones."""
    spec = tiny.changed(tiny.spec(name), experiment=experiment)
    save_weights(paths.weights("tiny", name), untrained(name, 10).state_dict())
    return spec


def test_the_folder_holds_and_describes_it(tiny_project, tmp_path, monkeypatch, capsys):
    spec = finished(PLAIN)
    monkeypatch.setattr("pipeline.config.resolve", lambda name, preset: spec)
    monkeypatch.setattr(sys, "argv", ["export", PLAIN, "--preset", "tiny", "--folder", str(tmp_path / "out")])
    stage.run(stage.main, "", name="experiment", extend=stage.extend)
    content, card = read_json(tmp_path / "out/config.json")["onnx"], (tmp_path / "out/README.md").read_text()
    assert (content["test"], content["short_side"]) == ("single", 80.0)
    assert content["check"]["pictures"] == 4
    assert content["check"]["detections"] > 20
    assert content["check"]["stray"] == 0
    assert content["check"]["largest"] < 1e-3
    assert "a short side of 80 pixels, or less where the long side would exceed 133.3" in card
    assert "On 4 validation pictures ONNX Runtime's detections differed from PyTorch's by at most" in card
    monkeypatch.chdir(tmp_path / "out")
    Image.effect_noise((50, 70), 90).convert("RGB").save("image.jpg")
    values: dict = {}
    exec(card.partition("## ONNX")[2].partition("```python\n")[2].partition("```")[0], values)
    assert values["image"].shape == (3, 112, 80)
    assert values["boxes"].shape == (len(values["scores"]), 4)
    assert 30 < values["boxes"].max() < 70.01
    monkeypatch.chdir(tiny_project)
    sys.argv.append("--without-onnx")
    stage.run(stage.main, "", name="experiment", extend=stage.extend)
    assert not (tmp_path / "out/detector.onnx").exists()
    assert "## ONNX" not in (tmp_path / "out/README.md").read_text()
    assert capsys.readouterr().out == ""


def test_what_is_left_out_is_said(tiny_project, tmp_path):
    pyramid = {"pyramid": Test(short_sides=(800, 1200), long_sides=(1333, 2000))}
    several = finished(PLAIN, tests=pyramid)
    found = export_whole(several, tmp_path)
    assert found == {"left_out": f"every test of {PLAIN} merges resolutions, mirror images, valid ranges or soft-NMS, "
                     "and an ONNX file looks once at a picture"}  # fmt: skip
    write_release(several, tmp_path, None, found)
    assert f"`detector.onnx` is left out: every test of {PLAIN} merges" in (tmp_path / "README.md").read_text()
    found = export_whole(finished("pod_frcnn_r50_fpn_1x_gsl"), tmp_path)
    assert "cannot express this faster_rcnn (backbone.body.layer2.0.conv2 is a GlobalScaleConv2d" in found["left_out"]
    assert not (tmp_path / whole.ONNX).exists()
    assert is_one_look(Test())
    for options in ({"flip": True}, {"merge": "soft_nms"}, {"valid_ranges": ((0.0, 80.0),)}):
        assert not is_one_look(Test(**options))


def test_mistakes_are_one_sentence(tiny_project, tmp_path, monkeypatch, capsys):
    with pytest.raises(InputError, match="was not trained under preset tiny"):
        export_whole(tiny.spec(PLAIN), tmp_path)
    spec = finished(PLAIN)
    monkeypatch.setattr(whole, "TOLERANCE", -1.0)  # no difference is as small
    assert re.match(r"\d+ of its \d+ detections in ONNX Runtime differed", export_whole(spec, tmp_path)["left_out"])
    assert not (tmp_path / whole.ONNX).exists()
    monkeypatch.setattr(sys, "argv", ["export", PLAIN, "--preset", "tiny", "--without-onnx"])
    with pytest.raises(SystemExit):
        stage.run(stage.main, "", name="experiment", extend=stage.extend)
    assert "name the folder after --folder" in capsys.readouterr().err
