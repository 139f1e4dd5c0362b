"""Classifiers on labelled images: resumed bit for bit, seeds, epochs, resolutions, fine-tuning, the papers' rates."""

import json
import signal
from pathlib import Path

import labelled_sets
import processes
import pytest
import tiny
import torch
from msgspec.structs import replace

from pipeline import config, paths
from pipeline.errors import InputError
from pipeline.files import write_json, write_text
from pipeline.models import build_classifier, pretrained
from pipeline.preset import LabelledSource
from pipeline.training.checkpoint import load_weights, save_weights
from pipeline.training.classification import crops
from pipeline.training.classification import pretraining as classification
from pipeline.training.classification.data import TrainingBatches, image_sizes, read_labelled
from pipeline.training.classification.pretraining import is_trained, pretrain
from pipeline.training.classification.run import ClassifierStep
from pipeline.training.distributed import World
from pipeline.training.loading import prefetched
from pipeline.training.schedule import learning_rate


@pytest.fixture
def images(empty_folder):
    labelled_sets.make_folders(empty_folder / "images")
    return empty_folder / "images"


def outputs(spec) -> list[bytes]:
    name, preset = spec.name, spec.preset.name
    return [path(preset, name).read_bytes() for path in (paths.init, paths.history, paths.training_summary)]


def summary(spec) -> dict:
    return json.loads(paths.training_summary(spec.preset.name, spec.name).read_bytes())


def test_a_killed_training_ends_with_the_same_bytes(images):
    spec = labelled_sets.spec()
    pretrain(spec)
    whole = outputs(spec)
    paths.init("tiny", spec.name).unlink()
    ended = processes.run(
        "import os, signal\n"
        "import labelled_sets\n"
        "from pipeline.training.classification import data, pretraining as classification\n"
        "original = data.TrainingBatches.__getitem__\n"
        "def deadly(self, step):\n"
        "    if step == 4:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return original(self, step)\n"
        "data.TrainingBatches.__getitem__ = deadly\n"
        "classification.pretrain(labelled_sets.spec())\n"
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(list(Path("data/scratch").glob("*/last.pt"))) == 1
    pretrain(spec)
    assert outputs(spec) == whole
    assert not list(Path("data/scratch").glob("*"))


@pytest.mark.parametrize("workers", "01")
def test_accumulated_and_averaged_training_resumes_to_the_same_bytes(images, monkeypatch, workers):
    options = {"pretrain_steps": 4, "pretrain_batch": 4, "accumulate": 2, "ema": 0.9}
    monkeypatch.setenv("SCALEWISE_WORKERS", workers)
    spec = labelled_sets.spec(**options, checkpoint_rows=4)
    pretrain(spec)
    whole = outputs(spec)
    found = summary(spec)
    assert [row["epoch"] for row in found["epochs"]] == [1.0, 1.333]  # 4 steps of 2 x 4 of 24 images
    assert (found["batch"], found["accumulate"], found["ema"], found["recipe_batch"]) == (8, 2, 0.9, 256)
    paths.init("tiny", spec.name).unlink()
    original = ClassifierStep.__call__

    def cut(self, number):
        if number == 5:
            raise ZeroDivisionError
        return original(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierStep, "__call__", cut)
        with pytest.raises(ZeroDivisionError):
            pretrain(spec)
    pretrain(spec)
    assert outputs(spec) == whole
    plain = labelled_sets.spec(**{**options, "ema": None})
    pretrain(plain)
    assert outputs(plain)[0] != whole[0]


def test_best_and_last_epoch_are_recorded_and_the_recipe_says_which_is_kept(images):
    spec = labelled_sets.spec(pretrain_lr=0.5)
    assert spec.recipe.labelled.keep == "best"
    pretrain(spec)
    found = summary(spec)
    assert [row["epoch"] for row in found["epochs"]] == [1.0, 2.0]  # 6 steps of 8 of 24 images
    assert found["top1_error"] == found["top1_error_best"] == min(row["top1_error"] for row in found["epochs"])
    assert found["top1_error_last"] == found["epochs"][-1]["top1_error"]
    assert (found["images"], found["val_images"], found["classes"], found["weights"]) == (24, 12, 3, "best")
    rows = paths.history("tiny", spec.name).read_text().splitlines()
    assert rows[0] == "step,loss,lr,top1,val_top1_error,val_top5_error"
    assert rows[3].count(",,") == 0
    assert rows[2].endswith(",,")
    tensors, _ = load_weights(paths.init("tiny", spec.name))
    assert tensors["classifier.fc.weight"].shape[0] == 3
    assert "backbone.body.layer1.0.conv2.weight" in tensors


def test_training_learns_the_colours(images):
    spec = labelled_sets.spec(pretrain_steps=30, pretrain_lr=0.05)
    pretrain(spec)
    assert summary(spec)["top1_error_best"] < 0.2


def test_workers_and_processes_change_no_batch(images, monkeypatch):
    monkeypatch.setenv("SCALEWISE_WORKERS", "1")
    spec = labelled_sets.spec()
    data, _ = read_labelled(spec.preset.labelled["imagenet"])
    whole = TrainingBatches(data, spec, 8, 6)
    alone, labels, rows = whole[3]
    assert alone.shape == (8, 3, 16, 16)
    assert alone.dtype == torch.uint8
    halves = [TrainingBatches(data, spec, 8, 6, World(rank, 2))[3] for rank in range(2)]
    for rank, (part, part_labels, part_rows) in enumerate(halves):
        assert part_rows == rows[rank::2]
        assert torch.equal(part, alone[rank::2])
        assert torch.equal(part_labels, labels[rank::2])
    loaded = list(prefetched(whole, range(2, 4)))
    assert torch.equal(loaded[1][0], alone)
    with pytest.raises(InputError, match="batch of 8 cannot be shared by 3 processes"):
        TrainingBatches(data, spec, 8, 6, World(0, 3))[0]


def test_seeds_are_trained_one_after_the_other(images):
    name = "psconv_cls_x29_8x64d_300ep"
    spec = labelled_sets.spec(name, pretrain_seeds=2, pretrain_steps=3)
    assert spec.experiment.seeds == 5
    pretrain(spec)
    found = summary(spec)
    assert found["input"] == 2  # 32 pixels of 224, at 16
    values = [part["top1_error"] for part in found["blocks"]]
    assert len(values) == 2
    assert found["top1_error"] == pytest.approx(sum(values) / 2, abs=1e-6)
    first = load_weights(paths.init("tiny", name))[0]
    pretrain(labelled_sets.spec(name, pretrain_seeds=1, pretrain_steps=3))
    alone = load_weights(paths.init("tiny", name))[0]
    assert all(torch.equal(value, alone[key]) for key, value in first.items())
    assert "blocks" not in summary(spec)


def test_snips_classifiers_are_tested_at_reduced_resolutions(images):
    base = labelled_sets.spec("snip_cls_r101_cnn_b", pretrain_size=64, pretrain_steps=2)
    sizes = image_sizes(base)
    assert (sizes.side, sizes.crop, sizes.resize, sizes.reduced) == (64, 64, 73, None)
    assert sizes.tests == {"48": 14, "64": 18, "80": 23, "96": 27, "128": 37, "224": 64}
    pretrain(base)
    found = summary(base)
    assert list(found["resolutions"]) == ["48", "64", "80", "96", "128", "224"]
    assert found["resolutions"]["224"]["top1_error"] == found["top1_error"]

    small = labelled_sets.spec("snip_cls_r101_cnn_s_48px_stride1_3x3", pretrain_size=64, pretrain_steps=2)
    assert (image_sizes(small).side, image_sizes(small).crop) == (14, 64)
    pretrain(small)
    tensors, _ = load_weights(paths.init("tiny", small.name))
    assert tensors["backbone.body.conv1.weight"].shape[2:] == (3, 3)

    tuned = labelled_sets.spec("snip_cls_r101_cnn_b_ft_48px_up", pretrain_size=64, pretrain_steps=1, pretrain_lr=1e-9)
    assert (image_sizes(tuned).side, image_sizes(tuned).reduced) == (64, 14)
    pretrain(tuned)
    found = summary(tuned)
    assert found["init_unmatched"] == 0
    before, after = (load_weights(paths.init("tiny", s.name))[0] for s in (base, tuned))
    assert torch.allclose(before["classifier.fc.weight"], after["classifier.fc.weight"], atol=1e-6)


def test_the_study_runs_on_crops_where_a_preset_has_no_images(empty_folder):
    for name in ("snip_cls_r101_cnn_b", "snip_cls_r101_cnn_b_ft_96px_up", "snip_cls_r101_cnn_s_96px_stride2_5x5"):
        spec = tiny.spec(name, pretrain_steps=1, pretrain_size=64, pretrain_images=30)
        pretrain(spec)
    found = json.loads(paths.training_summary("tiny", "snip_cls_r101_cnn_b_ft_96px_up").read_bytes())
    assert list(found["resolutions"]) == ["96"]
    assert found["init_unmatched"] == 2  # the linear layer: inits for detectors carry none


@pytest.mark.parametrize(("name", "side"), [("psconv_cls_x29_8x64d_300ep", 9), ("psconv_cls_r50_120ep_cos", 64)])
def test_crops_have_the_size_of_the_experiments_images(name, side, empty_folder, monkeypatch):
    seen = []

    def watched(*args):
        model = build_classifier(*args)
        model.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[-2:])))
        return model

    monkeypatch.setattr(crops, "build_classifier", watched)
    pretrain(tiny.spec(name, pretrain_steps=2, pretrain_size=64, pretrain_images=30))
    assert seen[-1] == (side, side)  # the test: CIFAR's 32 pixels where 224 are 64, round(9.14)
    assert {height for height, _ in seen[:2]} <= {round(side * ratio) for ratio in crops.SIDES}


def test_left_out_files_are_counted(images, capsys):
    (images / "train/class_0/broken.png").write_bytes(b"no picture")
    (images / "val/class_1/list.txt").write_text("no picture")
    spec = labelled_sets.spec(pretrain_steps=1)
    pretrain(spec)
    assert summary(spec)["left_out"] == {"train": 1, "val": 1}
    assert "train: 1 files left out; the first: train: image file 'class_0/broken.png'" in capsys.readouterr().err


def test_limits_belong_to_folders(images):
    source = LabelledSource(kind="folder", train="images/train", val="images/val", limit_classes=2, limit_train=3)
    train, val = read_labelled(source)
    assert (len(train), len(val), train.classes) == (6, 8, ("class_0", "class_1"))
    with pytest.raises(InputError, match="take rows out of it instead of setting limits"):
        read_labelled(replace(source, kind="split"))


def test_colour_augmentation_ends_after_70_of_90_epochs(images):
    spec = labelled_sets.spec("snip_cls_r101_cnn_b", pretrain_size=224, pretrain_steps=9)
    data, _ = read_labelled(spec.preset.labelled["imagenet"])
    plain = tiny.changed(spec, recipe={"labelled": replace(spec.recipe.labelled, colour=0.0)})
    for step, coloured in ((0, True), (6, True), (7, False), (8, False)):
        pair = [TrainingBatches(data, s, 2, 9)[step][0] for s in (spec, plain)]
        assert torch.equal(*pair) != coloured, step


def test_published_weights_are_for_shared_inits_only(empty_folder, monkeypatch):
    asked, published = [], {"conv1.weight": torch.ones(1)}
    monkeypatch.setattr(pretrained, "published_state", lambda name: asked.append(name) or published)
    monkeypatch.setattr(classification, "train_classifier", lambda spec, world: asked.append(f"train {spec.name}"))
    for name in ("resnet50", "psconv_cls_r50_120ep_cos", "psconv_cls_r50_step_psconv"):
        pretrain(config.resolve(name, "full"))
    assert asked == ["resnet50", "train psconv_cls_r50_120ep_cos", "train psconv_cls_r50_step_psconv"]
    assert list(load_weights(paths.init("full", "resnet50"))[0]) == ["backbone.body.conv1.weight"]


def test_a_deeper_init_of_cut_depth_takes_the_shallower_ones_weights(empty_folder, monkeypatch):
    monkeypatch.setattr(classification, "train_classifier", lambda spec, world: pytest.fail("trained"))
    save_weights(paths.init("mini", "resnet50"), {"backbone.body.conv1.weight": torch.arange(3.0)}, {"made": "here"})
    write_text(paths.history("mini", "resnet50"), "step,loss,lr,top1\n1,2.5,0.1,0.2\n")
    write_json(paths.training_summary("mini", "resnet50"), {"experiment": "resnet50", "steps": 1, "top1_error": 0.25})
    spec = config.resolve("resnet101", "mini")
    cut = replace(spec.preset.model, depth=0.1)
    spec = tiny.changed(spec, preset={"model": cut})
    pretrain(spec)
    tensors, metadata = load_weights(paths.init("mini", "resnet101"))
    assert tensors["backbone.body.conv1.weight"].tolist() == [0, 1, 2]
    assert metadata == {"made": "here"}
    assert paths.history("mini", "resnet101").read_text().endswith("1,2.5,0.1,0.2\n")
    taken = {"experiment": "resnet101", "steps": 1, "top1_error": 0.25, "taken_over_from": "resnet50"}
    assert summary(spec) == taken
    assert not is_trained(spec)
    assert is_trained(config.resolve("resnet50", "mini"))
    assert is_trained(config.resolve("resnet101", "mini"))  # depth tells it from the shallower one


def test_rates_of_the_papers_classifiers():
    cosine = config.resolve("psconv_cls_r50_120ep_cos", "full").recipe
    assert (cosine.epochs, cosine.batch, cosine.momentum, cosine.weight_decay, cosine.nesterov) == (
        120, 256, 0.9, 1e-4, False,
    )  # fmt: skip
    assert [round(learning_rate(step, 120, cosine.lr, cosine, 0), 6) for step in (0, 40, 60, 80, 120)] == [
        0.1, 0.075, 0.05, 0.025, 0.0,
    ]  # fmt: skip
    cifar = config.resolve("psconv_cls_x29_16x64d_300ep", "full")
    assert (cifar.recipe.epochs, cifar.recipe.batch, cifar.recipe.nesterov, cifar.recipe.weight_decay) == (
        300, 128, True, 5e-4,
    )  # fmt: skip
    rates = [learning_rate(epoch, 300, cifar.recipe.lr, cifar.recipe, 0) for epoch in (0, 149, 150, 224, 225, 299)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert [round(255 * v, 1) for v in cifar.recipe.labelled.mean] == [129.3, 124.1, 112.4]
    assert [round(255 * v, 1) for v in cifar.recipe.labelled.std] == [68.2, 65.4, 70.4]
    assert cifar.experiment.seeds == 5
    assert tuple(image_sizes(cifar)[:5]) == (32, None, 32, 32, 4)
    assert tuple(image_sizes(config.resolve("psconv_cls_r50_120ep_cos", "full"))[:4]) == (224, None, 224, 256)
    small = config.resolve("snip_cls_r101_cnn_s_96px_stride2_5x5", "full")
    assert tuple(image_sizes(small)[:4]) == (96, None, 224, 256)
