"""A bottleneck whose neighbours take over PSConv's channel orders: the same outputs, weights in their public order."""

import copy
import pickle

import pytest
import torch
from torch import nn

from pipeline.layers import MultiScaleFusion, PSConv2d
from pipeline.models.backbones import resnet
from pipeline.models.backbones.folded import folded_convolutions
from pipeline.models.backbones.resnet import FusionBottleneck


def bottleneck(stride=1, channels=32, **arguments):
    torch.manual_seed(0)
    shortcut = nn.Conv2d(4 * channels, 4 * channels, 1, stride) if stride > 1 else None
    block = FusionBottleneck(4 * channels, channels, stride, shortcut)
    block.conv2 = PSConv2d(channels, channels, stride=stride, **arguments)
    for norm in (block.bn1, block.bn2, block.bn3):
        for tensor in (norm.running_mean, norm.weight, norm.bias):
            nn.init.normal_(tensor)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    return block.eval().to(memory_format=torch.channels_last)


def example(channels=32):
    return torch.randn(2, 4 * channels, 9, 11).to(memory_format=torch.channels_last)


def is_folded(block, x):
    return folded_convolutions(block, x, block._kept) is not None


@pytest.fixture
def plainly(monkeypatch):
    def run(block, x):
        with monkeypatch.context() as patch:
            patch.setattr(resnet, "folded_convolutions", lambda *_: None)
            return block(x)

    return run


@pytest.mark.parametrize(
    "arguments", [{}, {"groups": 2, "dilations": (1, 2)}, {"dilations": (1, 2) + (1,) * 6}], ids=str
)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@torch.no_grad()
def test_outputs_are_the_same(plainly, stride, dtype, arguments):
    channels = 96 if dtype is torch.bfloat16 else 64  # thinner layers take the masked way
    block, x = bottleneck(stride, channels, **arguments), example(channels)
    if dtype is torch.float64:
        block, x = block.double(), x.double()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        found, wanted = block(x), plainly(block, x)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype] * wanted.abs().max().item()
    torch.testing.assert_close(found, wanted, atol=tolerance, rtol=0)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        assert is_folded(block, x) == (arguments == {})


def test_training_and_its_optimiser_see_public_weights_only(plainly):
    block, x = bottleneck().train(), example()
    other = copy.deepcopy(block)
    for one, run in ((block, lambda: block(x)), (other, lambda: plainly(other, x))):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.01, momentum=0.9)
        for _ in range(2):
            one.eval()
            with torch.no_grad():
                run()  # evaluation in between, with kept copies
            one.train()
            optimizer.zero_grad()
            run().square().mean().backward()
            optimizer.step()
    assert block.state_dict().keys() == other.state_dict().keys()
    for name, value in block.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    with torch.no_grad():
        block.eval(), other.eval()
        torch.testing.assert_close(block(x), plainly(other, x), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_loaded_weights_and_moved_statistics_are_seen(plainly):
    block, x = bottleneck(), example()
    for tensor in (block.conv1.weight, block.bn1.running_mean, block.bn2.bias, block.conv2.weight, block.conv3.weight):
        block(x)
        tensor.mul_(1.5)
        torch.testing.assert_close(block(x), plainly(block, x), atol=1e-4, rtol=1e-4)
    state = {name: torch.rand_like(value.float()).to(value.dtype) for name, value in block.state_dict().items()}
    block.load_state_dict(state)
    torch.testing.assert_close(block(x), plainly(block, x), atol=1e-3, rtol=1e-4)
    for copied in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        torch.testing.assert_close(copied(x), block(x))


@torch.no_grad()
def test_observed_and_unusual_blocks_take_the_plain_way():
    x = example()
    assert is_folded(bottleneck(), x)
    hooked, fused, trained, plain = (bottleneck() for _ in range(4))
    hooked.bn1.register_forward_pre_hook(lambda *_: None)
    fused.fusion2 = MultiScaleFusion(32, 4)
    trained.bn2.train()
    plain.conv2 = nn.Conv2d(32, 32, 3, padding=1)
    assert not any(is_folded(block, x) for block in (hooked, fused, trained, plain))
    with torch.enable_grad():
        assert not is_folded(bottleneck(), x)
