"""Cascade Mask R-CNN: a mask branch in every stage, averaged masks, and its counts."""

import pytest
import torch
from batches import full, model, picture, target
from torch import nn

from pipeline.models.measure import measure


def set_masks(detector: nn.Module, logits: tuple[float, float, float]) -> None:
    """Make every mask of a stage one logit."""
    for stage, logit in zip(detector.roi_heads.stages, logits, strict=True):
        last = stage.masks.predictor[-1]
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, logit)


def test_masks_are_averaged_as_probabilities():
    detector = model("cascade_mask_rcnn").eval()
    set_masks(detector, (100.0, 0.0, -100.0))
    detector.roi_heads.stages[2].masks.predictor[-1].bias.data[1] = 100.0
    with torch.inference_mode():
        (found,) = detector([picture()])
    wanted = torch.where(found["labels"] == 2, 2.5 / 3, 0.5)
    assert len(set(found["labels"].tolist())) > 1
    torch.testing.assert_close(found["mask_probs"], wanted[:, None, None, None].expand(-1, 1, 28, 28))


def test_mask_losses_weigh_as_their_stages():
    detector = model("cascade_mask_rcnn").train()
    set_masks(detector, (0.0, 0.0, 0.0))
    losses = detector([picture()], [target([8, 8, 40, 40], size=(64, 96))])
    assert [losses[f"loss_mask_{number}"].item() for number in range(3)] == pytest.approx(
        [0.693147, 0.693147 / 2, 0.693147 / 4], abs=1e-5
    )


def test_parameters_are_three_branches_more_than_the_cascades():
    found, cascade = measure(full("cascade_mask_rcnn")), measure(full("cascade_rcnn"))
    assert found["parameters_trainable"] == 77_099_262
    assert found["parameters_trainable"] - cascade["parameters_trainable"] == 3 * (44_170_992 - 41_527_712)
    branch = 4 * 256 * 256 * 9 * 14**2 + 256 * 256 * 4 * 14**2 + 256 * 80 * 28**2
    assert found["macs"] - cascade["macs"] == 3 * 100 * branch
