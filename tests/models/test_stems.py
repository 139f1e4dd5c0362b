"""First convolutions of SNIP's small-image classifiers: kernels, strides, positions, and what cannot be replaced."""

import pytest
import torch
from torch import nn

from pipeline import config
from pipeline.models import build_classifier
from pipeline.models.backbones.stems import replace_stem

NAMES = {
    48: ("snip_cls_r101_cnn_s_48px_stride1_3x3", (3, 3), (1, 1)),
    96: ("snip_cls_r101_cnn_s_96px_stride2_5x5", (5, 5), (2, 2)),
}


@pytest.mark.parametrize("side", NAMES)
def test_small_images_end_in_three_by_three_positions(side):
    name, kernel, stride = NAMES[side]
    with torch.device("meta"):
        model = build_classifier(config.resolve(name, "full"))
    assert (model.body.conv1.kernel_size, model.body.conv1.stride, model.body.conv1.out_channels) == (
        kernel,
        stride,
        64,
    )
    features = model.body(torch.empty(1, 3, side, side, device="meta"))
    assert features["0"].shape[-2:] == (24, 24)
    assert features["3"].shape == (1, 2048, 3, 3)
    plain = 44_549_160  # ResNet-101, of which the 7x7 stem has 64 * 3 * 49
    assert sum(p.numel() for p in model.parameters()) == plain - 64 * 3 * (49 - kernel[0] ** 2)


def test_wrong_stems_are_named():
    body = nn.Module()
    with pytest.raises(ValueError, match=r"stem must be 'standard' or one of \['small_48', 'small_96'\], got 'tiny'"):
        replace_stem(body, "tiny")
    with pytest.raises(ValueError, match="stem 'small_48' replaces a 7x7 first convolution, and this body's is None"):
        replace_stem(body, "small_48")
