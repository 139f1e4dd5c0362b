"""Faster R-CNN: what is frozen, norms, anchors and the batch that a network sees."""

import pytest
import tiny
import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.models import build_classifier, build_detector
from pipeline.models.backbones.norms import FrozenBatchNorm2d, FrozenStatisticsBatchNorm2d
from pipeline.models.batching import Batching


def test_stem_and_first_stage_are_frozen():
    spec = tiny.spec("msfm_frcnn_r50_fpn_1x")
    model = build_detector(spec, 3)
    frozen = {name.split(".")[2] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}
    model = build_detector(tiny.spec("msfm_frcnn_r50_fpn_1x", frozen_stages=-1), 3)
    assert all(p.requires_grad for p in model.parameters())
    model = build_detector(tiny.spec("msfm_frcnn_r50_fpn_1x", frozen_stages=0), 3)
    assert {n.split(".")[2] for n, p in model.named_parameters() if not p.requires_grad} == {"conv1", "bn1"}


@pytest.mark.parametrize(
    ("norm", "kind"),
    [("frozen", FrozenBatchNorm2d), ("frozen_statistics", FrozenStatisticsBatchNorm2d), ("batch", nn.BatchNorm2d)],
)
def test_norms(norm, kind):
    body = build_detector(tiny.spec("msfm_frcnn_r50_fpn_1x", norm=norm), 3).backbone.body
    assert type(body.layer2[0].bn1) is kind


def test_kinds_are_not_mixed_up():
    with pytest.raises(InputError, match="resnet50 is a classifier, not a detector"):
        build_detector(tiny.spec("resnet50"))
    with pytest.raises(InputError, match="is a faster_rcnn, not a classifier"):
        build_classifier(tiny.spec("msfm_frcnn_r50_fpn_1x"))


def test_anchors_follow_the_presets_factor():
    for experiment, sizes in (
        ("msfm_frcnn_r50_fpn_1x", [(3.2,), (6.4,), (12.8,), (25.6,), (51.2,)]),
        ("pod_frcnn_r50_c4_1x", [(3.2, 6.4, 12.8, 25.6, 51.2)]),
    ):
        found = build_detector(tiny.spec(experiment), 3).rpn.anchor_generator.sizes
        assert [tuple(round(size, 6) for size in level) for level in found] == sizes


def test_normalisation_and_padding_of_a_batch():
    batch, _ = Batching()([torch.full((3, 40, 50), 0.485), torch.full((3, 33, 70), 1.0)])
    assert batch.tensors.shape == (2, 3, 64, 96)
    assert batch.image_sizes == [(40, 50), (33, 70)]
    assert batch.tensors[0, 0, :40, :50].abs().max() < 1e-6  # the mean becomes 0
    torch.testing.assert_close(batch.tensors[1, :, 0, 0], torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
    assert batch.tensors[0, :, 40:].abs().max() == 0
    assert batch.tensors[1, :, :, 70:].abs().max() == 0
