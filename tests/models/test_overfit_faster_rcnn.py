"""Faster R-CNN learns eight images by heart, with a pyramid and without."""

from __future__ import annotations

import overfit
import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "steps", "lr"), [("msfm_frcnn_r50_fpn_1x", 100, 3e-3), ("pod_frcnn_r50_c4_1x", 150, 2e-3)]
)
def test_eight_images_are_learnt(experiment, steps, lr):
    assert overfit.overfit_ap50(overfit.spec(experiment), steps, lr) > 0.9
