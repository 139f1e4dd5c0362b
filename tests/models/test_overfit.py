"""Every family learns eight images by heart; the parts of SNIP's networks do so beside their own tests."""

import overfit
import pytest

BASE = "msfm_frcnn_r50_fpn_1x"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "changes", "steps", "lr"),
    [
        (BASE, {}, 100, 3e-3),
        ("pod_frcnn_r50_c4_1x", {}, 150, 2e-3),
        (BASE, {"detector": "cascade_rcnn"}, 80, 3e-3),
        (BASE, {"detector": "grid_rcnn"}, 80, 3e-3),
        (BASE, {"detector": "mask_rcnn"}, 80, 3e-3),
        (BASE, {"detector": "cascade_mask_rcnn"}, 80, 3e-3),
        (BASE, {"detector": "retinanet"}, 250, 1e-3),  # no norms in its towers: a higher rate ends in a lower AP
        (BASE, {"detector": "fcos"}, 150, 3e-3),
        ("msfm_reppoints_r50_fpn_1x", {"size": {"fpn_channels": 32}}, 190, 5e-3),
    ],
)
def test_eight_images_are_learnt(experiment, changes, steps, lr):
    masks = "mask" in changes.get("detector", "")
    _, found = overfit.overfit(overfit.spec(experiment, **changes), steps, lr, masks)
    assert min(found.values()) > 0.9


@pytest.mark.slow
def test_a_dynamic_threshold_moves_while_eight_images_are_learnt():
    model, found = overfit.overfit(overfit.spec("msfm_dynamic_rcnn_r50_fpn_1x"), steps=120)
    assert found["bbox"] > 0.9
    assert model.roi_heads.steps.item() == 120
    assert 0.5 < model.roi_heads.iou_threshold.item() < 0.95  # by step 100 proposals are better than at the start
