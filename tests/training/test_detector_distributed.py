"""Detectors in two processes: the joint batch's gradients, the same weights as one, every process its part."""

import csv
import json
import math
import os
import signal
from pathlib import Path

import processes
import pytest
import tiny
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from pipeline import paths
from pipeline.errors import InputError
from pipeline.models import build_detector
from pipeline.models.normaliser import local_normaliser, set_normaliser
from pipeline.options import CollageOptions
from pipeline.spec import Spec
from pipeline.training.checkpoint import load_weights
from pipeline.training.collage_feeding import CollageBatches
from pipeline.training.detection import DetectorStep, train_detector
from pipeline.training.distributed import ALONE, World
from pipeline.training.feeding import COLLAGE, REGULAR, RegularBatches, build_feeder
from pipeline.training.pyramid import PyramidBatches
from pipeline.training.snip import wire_snip

FAMILIES = ("retinanet", "fcos", "reppoints", "faster_rcnn", "mask_rcnn")
EVERY_FAMILY = (*FAMILIES, "cascade_rcnn", "cascade_mask_rcnn", "grid_rcnn", "dynamic_rcnn")
GRADIENTS = """
import sys, torch, test_detector_distributed as t
from pipeline.training.distributed import joined
out = {}
with joined() as world:
    for family in sys.argv[2:]:
        for reduced in (True, False):
            out[family, reduced] = t.gradients(family, world, reduced)
    if world.main:
        torch.save(out, sys.argv[1])
"""
TRAINING = """
import json, os, sys, test_detector_distributed as t
from pipeline.training.detection import train_detector
t.stop_at(os.environ.get("STOP_AT"))
train_detector(t.training_spec(json.loads(sys.argv[1])))
"""


# Gradients


def roomy(family: str) -> Spec:
    """Return a detector whose samplers have room for every anchor and RoI, so that nothing is drawn."""
    found = tiny.with_detector(tiny.spec("dst_frcnn_r50_fpn_1x", norm="frozen", frozen_stages=-1), family)
    return tiny.changed(found, preset={"model": replace(found.preset.model, rpn_batch=100_000, roi_batch=4000)})


def joint_batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return two images of one size with three objects and one."""
    random = torch.Generator().manual_seed(5)
    boxes = [[[4, 6, 40, 50], [50, 10, 90, 60], [20, 20, 32, 30]], [[10, 10, 70, 50]]]
    targets = []
    for rows in boxes:
        masks = torch.zeros(len(rows), 64, 96, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, rows, strict=True):
            mask[y1:y2, x1:x2] = 1
        labels = torch.arange(len(rows)) % 3 + 1
        targets.append({"boxes": torch.tensor(rows, dtype=torch.float32), "labels": labels, "masks": masks})
    return [torch.rand(3, 64, 96, generator=random) for _ in boxes], targets


def gradients(family: str, world: World, reduced: bool) -> dict[str, Tensor]:
    """Return the gradients of the joint batch, of which this process sees its part."""
    torch.manual_seed(1)
    model = build_detector(roomy(family), 3).train()
    cpu = torch.device("cpu")
    if reduced and world.size > 1:
        assert set_normaliser(model, world.normaliser(cpu)) > 0
    images, targets = joint_batch()
    wrapped = world.wrap(model)
    torch.manual_seed(2)
    losses = wrapped(world.share(images), world.share(targets))
    sum(losses.values()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("gradients")
    done = processes.run_two(folder, GRADIENTS, str(folder / "out.pt"), *FAMILIES)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "out.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_the_joint_batch_with_a_reduced_normaliser(family, two_processes):
    one = gradients(family, ALONE, reduced=False)
    reduced, local = two_processes[family, True], two_processes[family, False]
    scale = max(float(value.abs().max()) for value in one.values())
    torch.testing.assert_close({name: reduced[name] for name in one}, one, rtol=1e-3, atol=1e-5 * scale)
    # The images hold different numbers of objects (and proposals): normalised by each process alone, they are others.
    assert max(float((local[name] - wanted).abs().max()) for name, wanted in one.items()) > 1e-4 * scale


@pytest.mark.parametrize("objects", ["some", "none"])
@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_every_parameter_takes_part_in_every_step(family, objects):
    """DDP waits for the gradient of every parameter; it is told of none that could be missing."""
    torch.manual_seed(0)
    found = tiny.with_detector(tiny.spec("dst_frcnn_r50_fpn_1x", norm="frozen"), family)
    model = build_detector(found, 3).train()
    images, targets = joint_batch()
    if objects == "none":
        targets = [{name: value[:0] for name, value in target.items()} for target in targets]
    losses = model(images, targets)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize(
    "name",
    [
        "pod_frcnn_r101_c4_1x_gsl",
        "pod_retinanet_r101_fpn_1x_gsl",
        "msfm_frcnn_r50_fpn_1x_msfm_pos3_s3s_r16_32_64_g4_c1_add",
        "dst_frcnn_r50_dcn_c4_1x_dst",
        "snip_drfcn_r50_7ep_snip",
        "snip_drfcn_dpn92_resnet101_joint_7ep_snip",
        "snip_rpn_r50_6ep_snip_conv45_7anchor",
    ],
)
def test_the_papers_layers_take_part_in_every_step(name):
    for objects in ("some", "none"):
        torch.manual_seed(0)
        found = tiny.spec(name)
        model = build_detector(found, 3).train()
        images, targets = joint_batch()
        for target in targets:
            target["proposals"] = target["boxes"] + 2
            if objects == "none":
                target.update({key: value[:0] for key, value in target.items()})
            target["valid_head"] = target["valid_proposal"] = torch.zeros(len(target["boxes"]), dtype=torch.bool)
            target["head_range"] = torch.tensor([1000.0, 2000.0])  # no object and no RoI fits
        if found.experiment.method.snip is not None:
            wire_snip(model, found.experiment.method.snip.ignore_iou)
        losses = model(images, targets)
        sum(losses.values()).backward()
        assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_the_local_normaliser_is_the_default():
    model = build_detector(roomy("mask_rcnn"), 3)
    parts = [module.normaliser for module in model.modules() if hasattr(module, "normaliser")]
    assert len(parts) == 3  # RPN, RoI heads, mask branch
    assert all(part is local_normaliser for part in parts)
    assert [local_normaliser(0), local_normaliser(7)] == [1, 7]
    assert local_normaliser(torch.tensor(0.25), 1e-6) == 0.25
    assert local_normaliser(torch.tensor(0.0), 0.5) == 0.5


# What each process is fed


def worlds(size: int) -> list[World]:
    return [World(rank, size) for rank in range(size)]


def images(count: int = 24) -> tiny.FakeSet:
    """Return images of several sizes with one box each."""
    sizes = [(40 + row % 3, 60 + row % 5) for row in range(count)]
    return tiny.FakeSet(sizes, [[[0, 0, width / 2, height / 2]] for height, width in sizes])


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("size", [2, 4])
def test_processes_share_a_batch_and_augment_as_one_would(size):
    spec, data = tiny.plain(0.5, 4, short_sides=(600, 800, 1000)), images()
    whole = RegularBatches(spec, data, 4, REGULAR)
    parts = [RegularBatches(spec, data, 4, REGULAR, world) for world in worlds(size)]
    flips = set()
    for number in range(8):
        pixels, targets, info = whole[number]
        for rank, part in enumerate(parts):
            some, their_targets, their_info = part[number]
            assert len(some) == 4 // size
            assert all(torch.equal(a, b) for a, b in zip(some, pixels[rank::size], strict=True))
            assert all(equal(a, b) for a, b in zip(their_targets, targets[rank::size], strict=True))
            assert their_info["image_ids"] == info["image_ids"][rank::size]
        flips |= {float(target["boxes"][0, 0]) > 0 for target in targets}
    assert flips == {True, False}


@pytest.mark.parametrize("k", [4, 9])
def test_collages_do_not_depend_on_the_number_of_processes(k):
    spec, data = tiny.plain(0.5, 4, collage=CollageOptions(components=k)), images(40)

    def collages(world: World) -> CollageBatches:
        return CollageBatches(RegularBatches(spec, data, 4 * k, COLLAGE, world), k, spec)

    for number in range(3):
        pixels, targets, info = collages(ALONE)[number]
        assert len(pixels) == 4
        for world in worlds(2):
            some, their_targets, their_info = collages(world)[number]
            assert all(torch.equal(a, b) for a, b in zip(some, pixels[world.rank :: 2], strict=True))
            assert all(equal(a, b) for a, b in zip(their_targets, targets[world.rank :: 2], strict=True))
            own = range(world.rank, 4, 2)
            assert their_info["image_ids"] == [info["image_ids"][j * k + i] for j in own for i in range(k)]


def test_processes_agree_on_resolutions():
    spec, data = tiny.c4("snip_drfcn_r50_7ep_snip", batch=4), images()
    whole = PyramidBatches(spec, data, 10)
    parts = [PyramidBatches(spec, data, 10, world) for world in worlds(2)]
    for number in range(20):
        pixels, targets, info = whole[number]
        for rank, part in enumerate(parts):
            some, their_targets, their_info = part[number]
            assert (their_info["resolution"], their_info["snip"]) == (info["resolution"], info["snip"])
            assert all(torch.equal(a, b) for a, b in zip(some, pixels[rank::2], strict=True))
            assert all(equal(a, b) for a, b in zip(their_targets, targets[rank::2], strict=True))


def test_a_batch_that_processes_cannot_share_is_named():
    for method in ({}, {"collage": CollageOptions()}):
        with pytest.raises(InputError, match="batch of 4 cannot be shared by 3 processes"):
            build_feeder(tiny.plain(0.5, 4, **method), images(), 4, World(0, 3))


def test_norms_over_processes_need_gpus():
    model = nn.Sequential(nn.BatchNorm2d(4))
    assert ALONE.synchronise_norms(model, torch.device("cpu")) is model
    with pytest.raises(InputError, match="norm 'sync' takes statistics over processes on GPUs only"):
        World(0, 2).synchronise_norms(model, torch.device("cpu"))


# Trainings


def training_spec(options: dict) -> Spec:
    """Return a tiny DST training with these options of its collages and of its preset's trainings."""
    found = tiny.spec("dst_frcnn_r50_fpn_1x", **{"steps": 8, "batch": 2, "checkpoint_rows": 8, **options["training"]})
    found = tiny.with_method(found, collage=CollageOptions(**options["collage"]))
    return tiny.with_detector(found, options["detector"])


def stop_at(number: str | None) -> None:
    """Let the second process get a SIGTERM before this batch."""
    if number is None or os.environ["RANK"] != "1":
        return
    original = DetectorStep.__call__

    def stopping(self: DetectorStep, batch: int) -> tuple:
        if batch == int(number):
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch)

    DetectorStep.__call__ = stopping


def train_in_two(folder: Path, options: dict, stop: int | None = None) -> None:
    """Train in two processes; with `stop`, stop before that batch and start again."""
    if stop is not None:
        done = processes.run_two(folder, TRAINING, json.dumps(options), STOP_AT=str(stop))
        assert done.returncode != 0
        step = stop // options["training"].get("accumulate", 1) + 1
        assert f"stopped after step {step} of 8" in done.stderr
        assert len(list(Path("data/scratch").glob("*/last.pt"))) == 1
    done = processes.run_two(folder, TRAINING, json.dumps(options))
    assert done.returncode == 0, done.stderr


def results(spec: Spec) -> tuple[dict[str, Tensor], list[dict[str, float]], dict]:
    """Return weights, history and summary of a training."""
    with paths.history("tiny", spec.name).open() as opened:
        rows = [{name: float(v) for name, v in row.items() if v} for row in csv.DictReader(opened)]
    summary = json.loads(paths.training_summary("tiny", spec.name).read_bytes())
    return load_weights(paths.weights("tiny", spec.name))[0], rows, summary


@pytest.mark.slow
@pytest.mark.parametrize("stop", [None, 5])
def test_two_processes_train_as_one_does(stop, tiny_project):
    options = {
        "detector": "retinanet",
        "collage": {"threshold": 0.47, "reduce": True},
        "training": {"reduce_normaliser": True, "accumulate": 2, "norm": "frozen", "log_rows": 8, "lr": 0.1},
    }
    spec = training_spec(options)
    train_detector(spec)
    one, history, summary = results(spec)
    train_in_two(tiny_project, options, stop)
    two, other_history, other_summary = results(spec)
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)
    spread = max(float((one[name] - two[name]).abs().max()) for name in one)
    moved = float((one["head.logits.bias"] - math.log(0.01 / 0.99)).abs().max())
    assert moved > 0.02  # both trained: far more than
    assert spread < 1e-3 * moved
    assert 0 < sum(row["collage"] for row in history) < 8  # both kinds of batches were seen, and
    assert [row["collage"] for row in history] == [row["collage"] for row in other_history]  # in the same steps
    for row, other in zip(history, other_history, strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=1e-3)
        assert other["small_share"] == pytest.approx(row["small_share"], abs=1e-3)
    assert (summary["processes"], other_summary["processes"]) == (1, 2)
    assert summary["images_seen"] == other_summary["images_seen"] == 8 * 2 * 2
    assert not list(Path("data/scratch").glob("*"))


@pytest.mark.slow
def test_processes_that_decide_alone_resume_to_the_same_bytes(tiny_project):
    options = {"detector": "faster_rcnn", "collage": {"threshold": 0.5}, "training": {"batch": 4}}
    spec = training_spec(options)
    train_in_two(tiny_project, options)
    whole = paths.weights("tiny", spec.name).read_bytes()
    history = paths.history("tiny", spec.name).read_bytes()
    train_in_two(tiny_project, options, stop=4)
    assert paths.weights("tiny", spec.name).read_bytes() == whole
    assert paths.history("tiny", spec.name).read_bytes() == history


@pytest.mark.slow
def test_one_process_goes_on_where_two_stopped(tiny_project, capsys):
    options = {"detector": "faster_rcnn", "collage": {"threshold": 0.5}, "training": {"batch": 4}}
    done = processes.run_two(tiny_project, TRAINING, json.dumps(options), STOP_AT="4")
    assert "stopped after step 5 of 8" in done.stderr
    train_detector(training_spec(options))
    told = capsys.readouterr().err
    assert "is of 2 processes, and there are 1: all go on from what the first one was to be fed" in told
    assert len(paths.history("tiny", training_spec(options).name).read_text().splitlines()) > 1
