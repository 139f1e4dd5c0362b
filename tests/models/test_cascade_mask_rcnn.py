"""Cascade Mask R-CNN: a mask branch in every stage, averaged masks, its counts, and whether it learns."""

from __future__ import annotations

import overfit
import pytest
import tiny
import torch
from torch import nn

from pipeline import config
from pipeline.models import build_detector
from pipeline.models.measure import measure


def tiny_model() -> nn.Module:
    torch.manual_seed(0)
    return build_detector(tiny.with_detector(tiny.spec("msfm_frcnn_r50_fpn_1x"), "cascade_mask_rcnn"), 3)


def set_masks(model: nn.Module, logits: tuple[float, float, float]) -> None:
    """Make every mask of a stage one logit."""
    for stage, logit in zip(model.roi_heads.stages, logits, strict=True):
        last = stage.masks.predictor[-1]
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, logit)


def test_masks_are_averaged_as_probabilities():
    model = tiny_model().eval()
    set_masks(model, (100.0, 0.0, -100.0))
    model.roi_heads.stages[2].masks.predictor[-1].bias.data[1] = 100.0
    with torch.inference_mode():
        (found,) = model([torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))])
    wanted = torch.where(found["labels"] == 2, 2.5 / 3, 0.5)
    assert len(set(found["labels"].tolist())) > 1
    torch.testing.assert_close(found["mask_probs"], wanted[:, None, None, None].expand(-1, 1, 28, 28))


def test_mask_losses_weigh_as_their_stages():
    model = tiny_model().train()
    set_masks(model, (0.0, 0.0, 0.0))
    masks = torch.zeros(1, 64, 96, dtype=torch.uint8)
    masks[0, 8:40, 8:40] = 1
    target = {"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1]), "masks": masks}
    losses = model([torch.rand(3, 64, 96)], [target])
    assert [losses[f"loss_mask_{number}"].item() for number in range(3)] == pytest.approx(
        [0.693147, 0.693147 / 2, 0.693147 / 4], abs=1e-5
    )


def test_parameters_are_three_branches_more_than_the_cascades():
    baseline = tiny.with_detector(config.resolve("msfm_frcnn_r50_fpn_1x", "full"), "cascade_rcnn")
    found, cascade = measure(tiny.with_detector(baseline, "cascade_mask_rcnn")), measure(baseline)
    assert found["parameters_trainable"] == 77_099_262
    assert found["parameters_trainable"] - cascade["parameters_trainable"] == 3 * (44_170_992 - 41_527_712)
    branch = 4 * 256 * 256 * 9 * 14**2 + 256 * 256 * 4 * 14**2 + 256 * 80 * 28**2
    assert found["macs"] - cascade["macs"] == 3 * 100 * branch


@pytest.mark.slow
def test_eight_images_are_learnt():
    _, found = overfit.overfit(
        overfit.spec("msfm_frcnn_r50_fpn_1x", detector="cascade_mask_rcnn"), steps=80, masks=True
    )
    assert found["bbox"] > 0.9
    assert found["segm"] > 0.9
