"""How a detector's parts start and rest: He's start of new layers, norms of frozen stages, losses that recipes name."""

import pytest
import tiny
import torch
from torch import nn

from pipeline.models import build_detector
from pipeline.models.he_start import start_new_layers


@pytest.mark.parametrize("name", ["pod_frcnn_r50_fpn_1x", "pod_frcnn_r50_c4_1x_gsl", "pod_retinanet_r50_fpn_1x"])
def test_new_hidden_layers_start_as_hes_and_all_others_stay(name):
    torch.manual_seed(0)
    model = build_detector(tiny.spec(name), 3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    start_new_layers(model)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    modules = dict(model.named_modules())
    weights = {key.removesuffix(".weight") for key in changed if key.endswith(".weight")}
    assert weights
    for key in weights:
        assert not key.startswith("backbone.body"), key
        assert not key.endswith(("cls_logits", "bbox_pred", "cls_score", "logits", "deltas", "scale_predictor")), key
        weight = modules[key].weight
        deviation = (2 / weight[0].numel()) ** 0.5
        assert weight.std().item() == pytest.approx(deviation, rel=0.15), key
        assert not modules[key].bias.any(), key
    expected = {"fpn": "backbone.fpn.inner_blocks.0.0", "c4": "rpn.head.conv.0.0"}["c4" if "_c4_" in name else "fpn"]
    assert expected in weights


@pytest.mark.parametrize("backbone", ["resnet50", "dpn92"])
@pytest.mark.parametrize("norm", ["batch", "sync", "frozen_statistics"])
def test_norms_of_frozen_stages_are_in_evaluation_mode(backbone, norm):
    found = tiny.changed(tiny.spec("dst_frcnn_r50_fpn_1x"), experiment={"backbone": backbone})
    found = tiny.changed(found, recipe={"norm": norm, "frozen_stages": 1})
    body = build_detector(found, 3).train().backbone.body
    frozen = {id(m) for part in body.first_modules(1) for m in part.modules() if isinstance(m, nn.BatchNorm2d)}
    assert frozen
    for module in (m for m in body.modules() if isinstance(m, nn.BatchNorm2d)):
        assert module.training == (norm != "frozen_statistics" and id(module) not in frozen)
    again = build_detector(tiny.changed(found, recipe={"frozen_stages": -1}), 3).train().backbone.body
    assert any(m.training for m in again.modules() if isinstance(m, nn.BatchNorm2d)) == (norm != "frozen_statistics")


@pytest.mark.parametrize(
    ("name", "rpn", "head", "samples"),
    [
        ("msfm_frcnn_r50_fpn_1x", "l1", "l1", 0),
        ("msfm_cascade_rcnn_r50_fpn_1x", "smooth_l1", "smooth_l1", 0),
        ("msfm_grid_rcnn_r50_fpn_1x", "smooth_l1", None, 0),
        ("psconv_mask_rcnn_r50_fpn_1x", "smooth_l1", "smooth_l1", 2),
        ("pod_frcnn_r50_c4_1x", "smooth_l1", "smooth_l1", 2),
    ],
)
def test_detectors_have_their_recipes_losses_and_samples(name, rpn, head, samples):
    model = build_detector(tiny.changed(tiny.spec(name), preset={"model": tiny.ModelSize(width=0.125, depth=0.05)}), 3)
    assert model.rpn.box_loss == rpn
    stages = getattr(model.roi_heads, "stages", [model.roi_heads])
    assert head is None or {stage.box_loss for stage in stages} == {head}
    assert {stage.box_roi_pool.sampling_ratio for stage in stages} == {samples}


def test_the_rpns_l1_and_smooth_l1_by_hand():
    model = build_detector(tiny.spec("msfm_frcnn_r50_fpn_1x"), 3)
    labels, objectness = [torch.tensor([1.0])], torch.zeros(1)
    deltas, wanted = torch.tensor([[0.05, 1.0, 0.0, 0.0]]), torch.zeros(1, 4)
    assert model.rpn.anchor_losses(objectness, deltas, labels, wanted).regression.item() == pytest.approx(1.05)
    model.rpn.box_loss = "smooth_l1"  # 9 / 2 * 0.05^2 and 1 - 1 / 18
    expected = 4.5 * 0.05**2 + 1 - 1 / 18
    assert model.rpn.anchor_losses(objectness, deltas, labels, wanted).regression.item() == pytest.approx(expected)
