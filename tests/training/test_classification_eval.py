"""Errors, epochs, seeds and Welch's interval, by hand."""

import pytest
import torch
from torch import nn

from pipeline.training.classification.evaluation import (
    EpochErrors,
    batch_errors,
    count_errors,
    over_seeds,
    welch_interval,
)
from pipeline.training.distributed import ALONE


def test_first_guess_and_first_five():
    logits = torch.tensor([[7.0, 6, 5, 4, 3, 2], [7.0, 6, 5, 4, 3, 2], [7.0, 6, 5, 4, 3, 2]])
    assert count_errors(logits, torch.tensor([0, 4, 5])) == (2, 1)
    assert count_errors(logits[:, :2], torch.tensor([1, 1, 0])) == (2, 0)  # of two classes, two guesses hit always


def test_errors_over_batches_of_unequal_size():
    model = nn.Identity()
    batches = [(torch.eye(6)[:4], torch.tensor([0, 1, 2, 0])), (torch.eye(6)[:1], torch.tensor([0]))]
    cpu = torch.device("cpu")
    found = batch_errors(model, batches, lambda x: x.float(), "fp32", cpu, ALONE)
    assert found == (0.2, 0.0)
    assert not model.training
    assert batch_errors(model, [], lambda x: x, "fp32", cpu, ALONE) == (None, None)


def tracker(errors, images=10, batch=4, steps=6, keep_best=False):
    model = nn.Linear(1, 1)
    found = iter(errors)
    return EpochErrors(lambda: (next(found), 0.0), model, images, batch, steps, keep_best), model


def test_an_epoch_ends_when_every_image_was_seen_once():
    epochs, _ = tracker([0.5, 0.3, 0.4])
    assert [step for step in range(1, 7) if epochs.ends_epoch(step)] == [3, 5, 6]  # 12 >= 10, 20 >= 20, the last
    logged = [epochs(step) for step in range(1, 7)]
    assert [bool(row) for row in logged] == [False, False, True, False, True, True]
    assert logged[2] == {"val_top1_error": 0.5, "val_top5_error": 0.0}
    assert [row["epoch"] for row in epochs.epochs] == [1.2, 2.0, 2.4]
    assert epochs.best == {"epoch": 2.0, "top1_error": 0.3, "top5_error": 0.0}
    assert epochs.last["top1_error"] == 0.4


def test_the_first_of_equal_epochs_is_the_best_and_its_weights_are_kept():
    epochs, model = tracker([0.5, 0.3, 0.3], keep_best=True)
    for step in range(1, 7):
        with torch.no_grad():
            model.weight.fill_(step)
        epochs(step)
    assert epochs.best["epoch"] == 2.0
    assert epochs.best_state["weight"].item() == 5
    assert model.training
    again, _ = tracker([])
    again.load_state_dict(epochs.state_dict())
    assert (again.best, again.last, again.best_state) == (epochs.best, epochs.last, epochs.best_state)


def test_seeds_have_mean_and_sample_deviation():
    assert over_seeds([0.1, 0.2, 0.3]) == {"mean": 0.2, "sd": 0.1}
    assert over_seeds([0.1]) == {"mean": 0.1, "sd": None}


@pytest.mark.parametrize(
    ("one", "other", "dof", "half"),
    [
        # Variances 1 and 4 of 3 values: error sqrt(1/3 + 4/3), dof (5/3)^2 / ((1/9 + 16/9) / 2) = 2.94, taken as 2.
        ([9.0, 10.0, 11.0], [10.0, 12.0, 14.0], 2, 4.302653 * (5 / 3) ** 0.5),
        ([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0], 6, 2.446912 * (2 * (5 / 3) / 4) ** 0.5),  # Student's
    ],
)
def test_welch_interval_by_hand(one, other, dof, half):
    found = welch_interval(one, other)
    assert (found["dof"], found["difference"]) == (dof, pytest.approx(2.0))
    assert (found["low"], found["high"]) == pytest.approx((2 - half, 2 + half), abs=1e-5)


def test_no_spread_or_one_value():
    assert welch_interval([1.0], [2.0, 3.0])["low"] is None
    same = welch_interval([1.0, 1.0], [2.0, 2.0])
    assert (same["low"], same["high"]) == (1.0, 1.0)
