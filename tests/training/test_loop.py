"""One optimiser step by hand: accumulated batches, averaged weights, number formats, losses that are not finite."""

import json
import math
from pathlib import Path

import pytest
import tiny
import torch
import toy
from torch import nn

from pipeline import config
from pipeline.errors import InputError
from pipeline.models import build_detector
from pipeline.spec import Spec, epoch_steps
from pipeline.training.averaging import WeightAverage
from pipeline.training.history import History
from pipeline.training.loop import train
from pipeline.training.precision import autocast
from pipeline.training.step_values import mean

FAMILIES = (
    "msfm_frcnn_r50_fpn_1x",
    "dst_retinanet_r101_fpn_2x",
    "dst_fcos_r101_fpn_2x",
    "dst_mask_rcnn_r101_fpn_1x",
    "msfm_grid_rcnn_r50_fpn_1x",
    "msfm_reppoints_r50_fpn_1x",
    "snip_drfcn_dpn92_7ep_snip",
)


pytestmark = pytest.mark.usefixtures("empty_folder")


def batch_of(number: int) -> list[float]:
    return [1.0 + number, 3.0]


# Accumulation


def test_a_step_descends_the_mean_of_its_batches():
    model = toy.line(1.0)
    step_loss = toy.Mean(model, batch_of)
    facts, history = toy.run(toy.spec(lr=0.5, accumulate=2), step_loss, model, 2)
    # Batch means are 2, 2.5, 3, 3.5: gradients of the steps 2.25 and 3.25.
    assert model.weight.item() == pytest.approx(1 - 0.5 * 2.25 - 0.5 * 3.25)
    assert step_loss.asked == [0, 1, 2, 3]
    assert history.rows[0]["loss"] == pytest.approx(2.25)
    assert history.rows[0]["loss_mean"] == pytest.approx(2.25)
    assert history.rows[1]["loss"] == pytest.approx((1 - 0.5 * 2.25) * 3.25, rel=1e-6)
    assert history.sums["images"] == 8
    assert facts["accumulate"] == 2
    assert facts["batch"] == 4


def test_gradient_is_clipped_after_all_batches():
    model = toy.line(1.0)
    toy.run(toy.spec(lr=1.0, accumulate=2, gradient_clip=0.5), toy.Mean(model, batch_of), model, 1)
    assert model.weight.item() == pytest.approx(0.5)


def test_quantities_of_a_step_are_means_over_the_batches_that_have_them():
    rows = [{"images": 2.0, "share": 0.25, "gone": None}, {"images": 2.0, "share": math.nan}, {"images": 4.0, "low": 1}]
    assert mean(rows) == {"images": 8.0, "share": 0.25, "gone": None, "low": 1.0}
    assert mean(rows[:1]) is rows[0]


# The learning rate is never silent


def test_a_scaled_rate_is_announced_and_the_recipes_own_is_not(capsys):
    model = toy.line()
    spec = toy.spec(lr=None, batch=4)
    facts, _ = toy.run(spec, toy.Mean(model, batch_of), model, 1)
    sentence = f"{spec.name}: learning rate 0.005, 0.02 of recipe dst x 4 / 16 images a step (linear rule)."
    assert sentence in capsys.readouterr().err
    assert facts == {"lr": 0.005, "recipe_lr": 0.02, "batch": 4, "recipe_batch": 16, "lr_rule": "linear"}
    Path("scratch").rename("first")
    toy.run(toy.spec(lr=0.3, batch=2), toy.Mean(model, batch_of), model, 1)
    told = "learning rate 0.3, set by preset tiny for 2 images a step; recipe dst has 0.02 for 16."
    assert told in capsys.readouterr().err
    Path("scratch").rename("second")
    toy.run(toy.spec(lr=None, batch=16), toy.Mean(model, batch_of), model, 1)
    assert "learning rate" not in capsys.readouterr().err


# Averaged weights


def test_average_of_weights_by_hand():
    model = toy.line(1.0)
    _, history = toy.run(toy.spec(lr=1.0, ema=0.15), toy.Mean(model, lambda number: [1.0]), model, 3)
    # Weights 0, -1, -2; decays 1/10, min(.15, 2/11) = .15, .15.
    first = 0.1 * 1
    second = 0.15 * first + 0.85 * -1
    assert model.weight.item() == pytest.approx(0.15 * second + 0.85 * -2)
    assert [row["loss"] for row in history.rows] == [1.0, 0.0, -1.0]  # the weights that train are not the average


def test_buffers_are_averaged_and_whole_numbers_copied():
    model = nn.BatchNorm1d(1)
    average = WeightAverage(model, 0.9)
    model.running_mean.fill_(10.0)
    model.num_batches_tracked.fill_(7)
    average.update(model)
    assert average.average["running_mean"].item() == pytest.approx(9.0)
    assert average.average["num_batches_tracked"].item() == 7


def test_average_is_applied_and_taken_back():
    model = toy.line(2.0)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    average = WeightAverage(model, 0.5)
    average.average["weight"].fill_(5.0)
    with average.applied(model):
        assert model(torch.ones(1, 1)).item() == 5.0
    assert (model.weight.item(), average.average["weight"].item()) == (2.0, 5.0)
    model(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    assert model.weight.item() == 1.0
    with pytest.raises(KeyError), average.applied(model):
        raise KeyError
    assert model.weight.item() == 1.0


def test_evaluation_within_the_training_sees_the_average():
    model, seen, found = toy.line(1.0), [], toy.spec(lr=1.0, ema=0.5)
    step_loss = toy.Mean(model, lambda number: [1.0])
    note = {"after_step": lambda step: seen.append(model.weight.item()) or {"val": 1.0}}
    train(found, model, step_loss, 2, Path("scratch"), History(2, 2), "fp32", toy.CPU, **note)
    assert seen == pytest.approx([0.1, 0.1 * 2 / 11 - 9 / 11])


# Number formats


@pytest.mark.parametrize("experiment", FAMILIES)
def test_losses_are_fp32_under_bf16(experiment):
    torch.manual_seed(0)
    model = build_detector(tiny.spec(experiment), 3).train()
    images = [torch.rand(3, 64, 80) for _ in range(2)]
    target = {
        "boxes": torch.tensor([[4.0, 4, 40, 40], [10, 10, 20, 20]]),
        "labels": torch.tensor([1, 2]),
        "masks": torch.ones(2, 64, 80, dtype=torch.uint8),
        "proposals": torch.tensor([[4.0, 4, 40, 41], [10, 10, 20, 22], [30, 30, 50, 50]]),
    }
    kinds: set[torch.dtype] = set()
    for module in model.modules():
        if type(module) is nn.Conv2d:
            module.register_forward_hook(lambda module, inputs, output: kinds.add(output.dtype))
    with autocast("bf16", toy.CPU):
        losses = model(images, [dict(target) for _ in images])
    assert torch.bfloat16 in kinds  # the network itself computes in bf16
    assert {name: value.dtype for name, value in losses.items()} == dict.fromkeys(losses, torch.float32)
    assert sum(losses.values()).dtype == torch.float32


def test_sum_of_losses_is_fp32():
    model, seen = toy.line(1.0), []

    def step_loss(number: int) -> tuple[dict, dict]:
        large = model(torch.ones(1, 1)).sum()
        seen.append(large.dtype)
        return {"loss_a": large * 256, "loss_b": large.to(torch.bfloat16)}, {}

    _, history = toy.run(toy.spec(lr=0.001), step_loss, model, 1, "bf16")
    assert seen == [torch.bfloat16]
    assert history.rows[0]["loss"] == 257.0  # 256 + 1 is 256 in bf16


def test_fp16_skips_a_step_whose_gradient_is_not_finite():
    model = toy.line(1.0)

    class Spike(torch.autograd.Function):
        """The identity, with an infinite gradient."""

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * math.inf

    def step_loss(number: int) -> tuple[dict, dict]:
        out = model.weight.sum()
        return {"loss": Spike.apply(out) if number == 1 else out}, {}

    facts, history = toy.run(toy.spec(lr=0.125), step_loss, model, 3, "fp16")
    assert model.weight.item() == 1 - 2 * 0.125
    assert facts["skipped_steps"] == 1
    assert [row["loss"] for row in history.rows] == [1.0, 0.875, 0.875]
    lines = [json.loads(line) for line in Path("data/logs/tiny/dst_frcnn_r50_fpn_1x.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines] == [0, 1, 0]


def test_state_of_the_loss_scale_is_resumed():
    def training(stop: int | None = None) -> tuple:
        facts, history, weight = toy.train(stop, 4, "fp16", batch_of, lr=0.01, checkpoint_rows=4)
        return facts, history.csv(), weight

    with pytest.raises(toy.CutError):
        training(3)
    saved = torch.load(Path("scratch/last.pt"), weights_only=True)["scaler"]
    # Gradients times scale / 2: 4 * 32768 and 5 * 16384 are too large for fp16 (65504), 6 * 8192 is not.
    assert (saved["scale"], saved["_growth_tracker"]) == (16384.0, 1)
    resumed = training()
    assert resumed[0]["skipped_steps"] == 2
    Path("scratch").rename("first")
    assert training() == resumed


# Losses that are not finite


def test_a_loss_that_is_not_finite_names_its_images():
    model = toy.line(1.0)
    step_loss = toy.Mean(model, lambda number: [math.inf] if number == 3 else [1.0])
    with pytest.raises(InputError) as error:
        toy.run(toy.spec(lr=0.25, accumulate=2), step_loss, model, 4)
    assert str(error.value) == (
        "dst_frcnn_r50_fpn_1x: the loss of step 2 is not finite (loss inf, loss_mean inf); lower the learning rate of "
        "preset tiny or train in fp32; scratch/nonfinite.json lists its images."
    )
    assert json.loads(Path("scratch/nonfinite.json").read_text()) == {
        "experiment": "dst_frcnn_r50_fpn_1x",
        "step": 2,
        "lr": 0.25,
        "losses": [{"loss": "inf", "loss_mean": "inf"}],
        "image_ids": [30, 31],  # of the second batch of the second step alone
        "file_names": ["3.png"],
    }
    assert model.weight.item() == 0.75  # the step was not made


def test_a_step_without_facts_can_be_lost_too():
    model = toy.line(1.0)
    with pytest.raises(InputError, match=r"nonfinite.json lists its images"):
        toy.run(toy.spec(), lambda number: ({"loss": model.weight.sum() * math.nan}, {}), model, 1)
    assert json.loads(Path("scratch/nonfinite.json").read_text())["image_ids"] == []


# Schedules of whole trainings


@pytest.mark.parametrize("times", [1, 2, 3, 4, 5, 6])
def test_long_schedules_stretch_iterations_and_epochs(times):
    def stretched(name: str) -> Spec:
        return tiny.changed(config.resolve(name, "full"), experiment={"length": float(times)})

    assert stretched("dst_frcnn_r50_fpn_1x").steps == 90_000 * times
    assert epoch_steps(stretched("msfm_frcnn_r50_fpn_1x"), 117_266) == round(117_266 * 12 * times / 16)
