"""ResNets of torchvision's bottlenecks: plain, ResNeXt and SE, for large images and for CIFAR's 32x32.

Parameter names are torchvision's (`layer2.0.conv2.weight`), so published weights load unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck
from torchvision.ops import SqueezeExcitation

from pipeline.layers.grouped_dilated import GroupedDilatedConv2d
from pipeline.layers.kept import Kept
from pipeline.models.backbones.folded import folded_convolutions
from pipeline.models.backbones.method_layers import Scales, initialise, insert_layers
from pipeline.models.backbones.norms import NORMS, rest_frozen
from pipeline.options import Method
from pipeline.preset import ModelSize

EXPANSION = Bottleneck.expansion
SE_REDUCTION = 16
Norm = Callable[[int], nn.Module]


class FusionBottleneck(Bottleneck):
    """torchvision's bottleneck with a place for a fusion module behind each of its three convolutions.

    The positions are MMDetection's plugin positions `after_conv1`, `after_conv2` and `after_conv3` (MSFM, section 3.2).
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.conv2.groups > 1 and self.conv2.dilation > (1, 1):
            self.conv2 = GroupedDilatedConv2d.of(self.conv2)
        self.se = nn.Identity()
        self.fusion1 = nn.Identity()
        self.fusion2 = nn.Identity()
        self.fusion3 = nn.Identity()
        self._kept = Kept()

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, 4 width, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = folded_convolutions(self, x, self._kept)
        if out is None:
            out = self.fusion1(self.relu(self.bn1(self.conv1(x))))
            out = self.conv3(self.fusion2(self.relu(self.bn2(self.conv2(out)))))
        out = self.fusion3(self.se(self.bn3(out)))
        return self.relu(out + shortcut)


class SEBottleneck(FusionBottleneck):
    """Bottleneck whose residual is scaled channel by channel (squeeze and excitation, reduction 16).

    The names are timm's (`layer1.0.se.fc1.weight`), which publishes the weights.
    """

    def __init__(self, inplanes: int, planes: int, *args, **kwargs) -> None:
        super().__init__(inplanes, planes, *args, **kwargs)
        channels = planes * EXPANSION
        self.se = SqueezeExcitation(channels, max(1, channels // SE_REDUCTION))


class Shape(NamedTuple):
    """Sizes of a ResNet: four stages, or three in a CIFAR network."""

    planes: tuple[int, ...]  # a quarter of a stage's output channels
    blocks: tuple[int, ...]
    groups: int = 1
    base_width: float = 64  # 3x3 channels per group where planes are 64
    block: type[FusionBottleneck] = FusionBottleneck
    small_images: bool = False  # 3x3 first convolution at stride 1, no pooling


class ResNet(nn.Module):
    """ResNet of bottlenecks: a stem and the first `stages` of `layer1` to `layer4`.

    Args:
        shape: widths, depths and kind of block.
        norm: makes a norm layer for a number of channels.
        stages: number of stages to build (4, or 3 under a C4 detector, whose head owns `layer4`).
        strides: strides of the stages.
        dilations: dilations of the stages' 3x3 convolutions.
    """

    def __init__(
        self,
        shape: Shape,
        norm: Norm,
        stages: int = 4,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
    ) -> None:
        super().__init__()
        stem = shape.planes[0]
        kernel, stride = (3, 1) if shape.small_images else (7, 2)
        self.conv1 = nn.Conv2d(3, stem, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn1 = norm(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if shape.small_images else nn.MaxPool2d(3, stride=2, padding=1)
        channels = stem
        for index in range(stages):
            layer = make_stage(shape, index, channels, strides[index], norm, dilations[index])
            self.add_module(f"layer{index + 1}", layer)
            channels = shape.planes[index] * EXPANSION
        self.stages = stages
        self.out_channels = [planes * EXPANSION for planes in shape.planes[:stages]]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images [N, 3, H, W] to the stages' features (strides 4, 8, 16, 32) under the keys "0" to "3".

        A network for small images has three stages, of strides 1, 2 and 4.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        features = {}
        for index in range(self.stages):
            x = self.get_submodule(f"layer{index + 1}")(x)
            features[str(index)] = x
        return features

    def train(self, mode: bool = True) -> ResNet:
        """Set the mode, but leave the norms of frozen stages in evaluation mode."""
        super().train(mode)
        rest_frozen(self)
        return self

    def first_modules(self, stages: int) -> list[nn.Module]:
        """Return the modules of the stem and of the first `stages` stages, which detectors freeze."""
        return [self.get_submodule(name) for name in ("conv1", "bn1", *(f"layer{n + 1}" for n in range(stages)))]


def make_stage(shape: Shape, index: int, channels: int, stride: int, norm: Norm, dilation: int = 1) -> nn.Sequential:
    """Build stage `index` (from 0) on `channels` input channels, with its stride in the first 3x3 convolution."""
    layers: list[nn.Module] = []
    planes = shape.planes[index]
    for block in range(shape.blocks[index]):
        shortcut = None
        if block == 0 and (stride != 1 or channels != planes * EXPANSION):
            projection = nn.Conv2d(channels, planes * EXPANSION, 1, stride=stride, bias=False)
            shortcut = nn.Sequential(projection, norm(planes * EXPANSION))
        layers.append(
            shape.block(
                channels,
                planes,
                stride if block == 0 else 1,
                shortcut,
                shape.groups,
                shape.base_width,
                dilation,
                norm,
            )
        )
        channels = planes * EXPANSION
    return nn.Sequential(*layers)


STAGES = (64, 128, 256, 512)
RESNETS = {
    "resnet50": Shape(STAGES, (3, 4, 6, 3)),
    "resnet101": Shape(STAGES, (3, 4, 23, 3)),
    "resnext50_32x4d": Shape(STAGES, (3, 4, 6, 3), 32, 4),
    "resnext101_32x4d": Shape(STAGES, (3, 4, 23, 3), 32, 4),
    "resnext101_32x8d": Shape(STAGES, (3, 4, 23, 3), 32, 8),
    "se_resnet50": Shape(STAGES, (3, 4, 6, 3), block=SEBottleneck),
    "se_resnet101": Shape(STAGES, (3, 4, 23, 3), block=SEBottleneck),
    "resnext29_8x64d": Shape(STAGES[:3], (3, 3, 3), 8, 64, small_images=True),
    "resnext29_16x64d": Shape(STAGES[:3], (3, 3, 3), 16, 64, small_images=True),
}
BLOCKS = {name: shape.blocks for name, shape in RESNETS.items()}
PERIOD = 4  # least channels per group of a narrow ResNeXt: one period of PSConv's pattern


def build(
    name: str,
    size: ModelSize,
    norm: str,
    method: Method,
    scales: Scales | None = None,
    stages: int = 4,
    strides: Sequence[int] = (1, 2, 2, 2),
    dilations: Sequence[int] = (1, 1, 1, 1),
) -> ResNet:
    """Build a ResNet, ResNeXt or SE-ResNet; arguments as `build_backbone`."""
    body = ResNet(resnet_shape(name, size), NORMS[norm], stages, strides, dilations)
    for index in range(stages):
        insert_layers(body.get_submodule(f"layer{index + 1}"), index + 1, size, method, scales)
    initialise(body)
    return body


def build_stage(
    name: str, size: ModelSize, norm: str, method: Method, scales: Scales | None, number: int, stride: int
) -> nn.Sequential:
    """Build stage `number` (from 1) of a ResNet by itself: conv5_x in the RoI head of a C4 detector."""
    shape = resnet_shape(name, size)
    stage = make_stage(shape, number - 1, shape.planes[number - 2] * EXPANSION, stride, NORMS[norm])
    insert_layers(stage, number, size, method, scales)
    initialise(stage)
    return stage


def resnet_shape(name: str, size: ModelSize) -> Shape:
    """Return a ResNet's shape at a preset's size.

    A narrow ResNeXt first has fewer 3x3 channels per group, in steps of four down to four, and then fewer groups.
    """
    full = RESNETS[name]
    first = size.planes(2)
    shape = full._replace(
        planes=tuple(size.planes(2 + index) for index in range(len(full.blocks))),
        blocks=tuple(map(size.blocks, full.blocks)),
    )
    if full.groups == 1:
        return shape
    wanted = full.base_width * size.width
    width = min(full.base_width, max(PERIOD, PERIOD * round(wanted / PERIOD)))
    groups = max(1, round(full.groups * wanted / width))
    # torchvision truncates planes * base_width / 64: without the slack, an exact product could lose a channel.
    return shape._replace(groups=groups, base_width=width if first == 64 else width * 64 / first + 1e-6)
