"""Faster R-CNN learns eight images by heart, with a pyramid and without."""

from __future__ import annotations

import overfit
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["msfm_frcnn_r50_fpn_1x", "pod_frcnn_r50_c4_1x"])
def test_eight_images_are_learnt(experiment):
    assert overfit.overfit_ap50(overfit.spec(experiment)) > 0.9
