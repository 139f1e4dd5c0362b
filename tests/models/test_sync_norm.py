"""Norms that are synchronised over devices: every backbone builds with them, and a conversion leaves none behind."""

import pytest
import tiny
import torch
from timm.layers import SyncBatchNormAct
from torch import nn

from pipeline.models.backbones.build import build_backbone
from pipeline.models.backbones.norms import FrozenBatchNorm2d, FrozenStatisticsBatchNorm2d
from pipeline.options import BACKBONES, FusionOptions, Method
from pipeline.training.distributed import World

GPUS = World(rank=0, size=2, local_rank=0)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_builds_and_converts(name):
    torch.manual_seed(0)
    body = build_backbone(name, tiny.PRESET.model, "sync", Method()).train()
    norms = [module for module in body.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(norm.training and norm.weight.requires_grad for norm in norms)
    image = torch.rand(2, 3, 32, 32)
    body.eval()
    before = list(body(image).values())
    converted = GPUS.synchronise_norms(body, torch.device("cuda"))
    synced = [module for module in converted.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert len(synced) == len(norms)
    # In evaluation both are the same function; a conversion that lost timm's activations would not be.
    with torch.no_grad():
        after = list(converted(image).values())
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b)
    if name.startswith("dpn"):
        assert all(isinstance(module, SyncBatchNormAct) for module in synced)


def test_methods_norms_convert_and_group_norms_stay():
    body = build_backbone("resnet50", tiny.PRESET.model, "sync", Method(fusion=FusionOptions()))
    groups = sum(isinstance(module, nn.GroupNorm) for module in body.modules())
    assert groups > 0
    converted = GPUS.synchronise_norms(body, torch.device("cuda"))
    assert not any(type(module) is nn.BatchNorm2d for module in converted.modules())
    assert sum(isinstance(module, nn.GroupNorm) for module in converted.modules()) == groups


@pytest.mark.parametrize("kind", [FrozenStatisticsBatchNorm2d, FrozenBatchNorm2d])
def test_frozen_statistics_stay(kind):
    body = nn.Sequential(nn.Conv2d(3, 4, 1), kind(4))
    assert type(GPUS.synchronise_norms(body, torch.device("cuda"))[1]) is kind
