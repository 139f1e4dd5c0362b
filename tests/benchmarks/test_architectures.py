"""The architectures benchmark: which networks are distinct, what a step measures, resuming, failures, the page."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import msgspec
import pytest
import tiny
import torch
from torch import nn

from pipeline.benchmarks import architectures
from pipeline.benchmarks.one_step import invent, measure_network, settled_norms
from pipeline.config import resolve
from pipeline.options import CollageOptions, FusionOptions, Method
from pipeline.spec import Spec

FOUND = {
    "parameters": 41_753_056,
    "input": [800, 1333],
    "weights_mib": 160.0,
    "training": {
        "seconds": 12.5,
        "core_seconds": 12.5,
        "peak_mib": 4960.0,
        "losses": {"loss_classifier": 4.0, "loss_box_reg": 0.5},
    },
    "inference": {"seconds": 6.25, "core_seconds": 6.25, "peak_mib": 864.0, "detections": 100},
}


def changed(detector: str = "faster_rcnn", name: str | None = None, **method) -> Spec:
    """Return a tiny specification with another detector and method."""
    found = tiny.spec("msfm_frcnn_r50_fpn_1x")
    experiment = msgspec.structs.replace(found.experiment, detector=detector, method=Method(**method))
    return msgspec.structs.replace(found, experiment=experiment, name=name or found.name)


# Which networks


def test_training_paradigms_make_no_network_of_their_own():
    specs = [
        changed(name="a"),
        changed(name="b", collage=CollageOptions(), short_sides=(600, 800), small_loss_reweight=True),
        changed(name="c", fusion=FusionOptions()),
        changed(name="d", global_scale=True),
        changed(name="e", global_scale=True, scale_stages=(2,)),
    ]
    found = architectures.distinct(specs)
    assert [(one["experiment"], one["experiments"]) for one in found] == [
        ("a", ["a", "b"]),
        ("c", ["c"]),
        ("d", ["d"]),
        ("e", ["e"]),
    ]
    assert found[0]["layers"] == {}
    assert found[2]["layers"] == {"global_scale": True, "scale_stages": [3, 4, 5]}


def test_every_experiment_belongs_to_one_network():
    names = architectures.experiments()
    found = architectures.distinct([resolve(name, "full") for name in names])
    assert sorted(name for one in found for name in one["experiments"]) == names
    assert len({one["experiment"] for one in found}) == len(found) < len(names)


def test_a_measurement_is_asked_for_again_when_anything_changes():
    first, other = architectures.distinct([changed(), changed(fusion=FusionOptions())])
    key = architectures.digest(first, "machine", "full", "fp32")
    assert key == architectures.digest(first | {"experiments": ["more"]}, "machine", "full", "fp32")
    varied = [
        ("other", "full", "fp32"),
        ("machine", "full", "bf16"),
    ]
    keys = {architectures.digest(first, *circumstances) for circumstances in varied}
    keys.add(architectures.digest(other, "machine", "full", "fp32"))
    assert len(keys | {key}) == 4


# One step


@pytest.mark.parametrize("detector", ["faster_rcnn", "mask_rcnn", "retinanet", "grid_rcnn"])
def test_a_step_of_a_detector(detector):
    found = measure_network(changed(detector), "cpu", "fp32")
    assert found["input"] == [80, 133]
    assert found["training"]["seconds"] > 0
    assert 0 < found["training"]["core_seconds"] < 2 * torch.get_num_threads() * found["training"]["seconds"]
    assert found["inference"]["seconds"] > 0
    # Gradients and momenta of what trains are held besides activations.
    assert found["training"]["peak_mib"] > found["weights_mib"]
    assert 0 < sum(found["training"]["losses"].values()) < 100
    assert found["inference"]["detections"] == 10


def test_a_step_of_a_classifier():
    found = measure_network(resolve("psconv_cls_r50_120ep_cos_psconv", "mini"), "cpu", "fp32")
    assert found["input"] == [64, 64]
    assert found["inference"]["detections"] is None
    assert found["training"]["losses"]["loss"] == pytest.approx(math.log(1000), abs=3)


def test_a_loss_that_is_not_finite_is_a_failure(monkeypatch):
    monkeypatch.setattr("pipeline.models.detectors.grid_rcnn.LOSS_WEIGHT", float("inf"))
    with pytest.raises(FloatingPointError, match="loss_grid inf"):
        measure_network(changed("grid_rcnn"), "cpu", "fp32")


def test_invented_objects_lie_inside_the_image_and_masks_are_theirs():
    (image,), (target,) = invent(changed("mask_rcnn"), "cpu")
    assert image.shape == (3, 80, 133)
    boxes = target["boxes"]
    sides = boxes[:, 2] - boxes[:, 0]
    assert (sides[0].item(), sides[-1].item()) == pytest.approx((1.6, 40.0))
    assert boxes.min() >= 0
    assert (boxes <= torch.tensor([133, 80, 133, 80])).all()
    assert target["masks"][-1].sum() == 40 * 40
    _, (target,) = invent(changed("d_rfcn_rcn"), "cpu")
    assert target["proposals"].shape == (300, 4)
    assert (target["proposals"][:, 2:] > target["proposals"][:, :2]).all()


def test_norms_settle_on_what_passes_and_only_then():
    norm = nn.BatchNorm2d(2).eval()
    x = torch.randn(4, 2, 8, 8) * torch.tensor([3.0, 0.5]).view(1, 2, 1, 1) + 7
    with settled_norms(norm):
        out = norm(x)
    assert out.mean().abs() < 1e-5
    torch.testing.assert_close(out.var(dim=(0, 2, 3)), torch.ones(2), rtol=1e-3, atol=1e-3)
    kept = norm.running_mean.clone()
    norm(x * 2)
    assert torch.equal(norm.running_mean, kept)


# The run


@pytest.fixture
def few(monkeypatch):
    """Let the benchmark see three networks and a measurement that takes no time; returns what was measured."""
    measured: list[str] = []

    def run(experiment: str, options) -> dict:
        measured.append(experiment)
        return {"failure": "out of | memory"} if "retinanet" in experiment else {"found": FOUND}

    names = [
        "msfm_frcnn_r50_fpn_1x",
        "msfm_frcnn_r50_fpn_1x_msfm",
        "psconv_frcnn_r50_fpn_1x",
        "msfm_retinanet_r50_fpn_1x",
    ]
    monkeypatch.setattr(architectures, "experiments", lambda: names)
    monkeypatch.setattr(architectures, "run", run)
    return measured


def options(folder: Path, *words: str):
    return architectures.parser().parse_args(["--output", str(folder), *words])


def test_a_broken_off_run_goes_on_where_it_was(few, tmp_path, monkeypatch, capsys):
    first = architectures.main(options(tmp_path, "--limit", "1"))
    assert [row["experiment"] for row in first["rows"]] == few == ["msfm_frcnn_r50_fpn_1x"]
    assert first["rows"][0]["experiments"] == ["msfm_frcnn_r50_fpn_1x", "psconv_frcnn_r50_fpn_1x"]
    assert "[1/3] msfm_frcnn_r50_fpn_1x: training 12.5 s 4960 MiB, inference 6.2 s 864 MiB" in capsys.readouterr().err
    architectures.main(options(tmp_path))
    assert few == ["msfm_frcnn_r50_fpn_1x", "msfm_frcnn_r50_fpn_1x_msfm", "msfm_retinanet_r50_fpn_1x"]
    assert "FAILED, out of | memory" in capsys.readouterr().err
    architectures.main(options(tmp_path, "--limit", "0"))
    assert len(few) == 3
    monkeypatch.setattr(architectures, "code_digest", lambda: "edited")
    again = architectures.main(options(tmp_path))
    assert len(few) == len(again["rows"]) == 3
    assert {row["code"] for row in again["rows"]} == {first["code"]}
    assert "3 ran with an earlier state" in (tmp_path / "cpu_architectures.md").read_text()
    again = architectures.main(options(tmp_path, "--again"))
    assert len(few) == 6
    assert {row["code"] for row in again["rows"]} == {"edited"}
    kept = json.loads((tmp_path / "cpu_architectures.json").read_text())["rows"]
    assert [row["digest"] for row in kept] == [row["digest"] for row in again["rows"]]


def test_the_page_shows_failures_and_what_ran(few, tmp_path):
    architectures.main(options(tmp_path))
    page = (tmp_path / "cpu_architectures.md").read_text()
    assert "2 of 3 distinct networks ran with finite losses, 1 failed, 0 not run yet; 0 ran with" in page
    assert "| `msfm_retinanet_r50_fpn_1x` | out of \\| memory |" in page


def test_a_process_answers_in_its_last_line(monkeypatch):
    def process(code: int, err: str, out: str = ""):
        return lambda *args, **kwargs: subprocess.CompletedProcess(args, code, out, err)

    asked = options(Path())
    monkeypatch.setattr(subprocess, "run", process(0, "", f"noise\n{json.dumps(FOUND)}\n"))
    assert architectures.run("x", asked) == {"found": FOUND}
    monkeypatch.setattr(subprocess, "run", process(1, "Traceback\n  line\nRuntimeError: no\n\n"))
    assert architectures.run("x", asked) == {"failure": "RuntimeError: no"}
    monkeypatch.setattr(subprocess, "run", process(-9, ""))
    assert "want of memory" in architectures.run("x", asked)["failure"]

    def late(*args, **kwargs):
        raise subprocess.TimeoutExpired(args, 7)

    monkeypatch.setattr(subprocess, "run", late)
    assert architectures.run("x", options(Path(), "--seconds", "7")) == {"failure": "not done after 7 s"}
