"""ResNets on torchvision's bottleneck, with the papers' layers put into their 3x3 convolutions.

Parameter names are torchvision's (`layer2.0.conv2.weight`), so published weights load as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from pipeline.layers import DecomposedConv2d, GlobalScaleConv2d, MultiScaleFusion, PSConv2d, SubConv, decompose
from pipeline.options import FusionOptions, Method
from pipeline.preset import ModelSize

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
EXPANSION = Bottleneck.expansion
Scales = Mapping[str, tuple[float, float]]  # learnt global scale (h, w) of a block, by its name ("layer2.0")


class FrozenStatisticsBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics stay as loaded while its weight and bias are trained (MMDetection's `norm_eval`)."""

    def train(self, mode: bool = True) -> FrozenStatisticsBatchNorm2d:
        """Stay in evaluation mode, where the running statistics are used."""
        return super().train(False)


class FrozenBatchNorm2d(FrozenStatisticsBatchNorm2d):
    """Batch norm of which nothing is trained.

    torchvision's class of this name multiplies in fp32 under autocast and keeps every product for the backward pass;
    the native kernel does neither.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        for parameter in self.parameters():
            parameter.requires_grad_(False)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "frozen": FrozenBatchNorm2d,
    "frozen_statistics": FrozenStatisticsBatchNorm2d,
    "batch": nn.BatchNorm2d,
    "sync": nn.BatchNorm2d,  # several devices convert it (training); one device needs no synchronisation
}


class FusionBottleneck(Bottleneck):
    """torchvision's bottleneck with a place for a fusion module behind each of its three convolutions.

    The positions are MMDetection's plugin positions `after_conv1`, `after_conv2` and `after_conv3` (MSFM, section 3.2).
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.fusion1 = nn.Identity()
        self.fusion2 = nn.Identity()
        self.fusion3 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, 4 width, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.fusion1(self.relu(self.bn1(self.conv1(x))))
        out = self.fusion2(self.relu(self.bn2(self.conv2(out))))
        out = self.fusion3(self.bn3(self.conv3(out)))
        return self.relu(out + shortcut)


class ResNet(nn.Module):
    """ResNet of bottlenecks: stem, then the stages `layer1` ... `layer4` as far as `stages` says.

    Args:
        widths: channels of the 3x3 convolutions of the four stages.
        blocks: bottlenecks of the four stages.
        norm: makes a norm layer for a number of channels.
        stages: how many stages are built (4, or 3 under a C4 detector whose head owns `layer4`).
        strides: strides of the four stages.
    """

    def __init__(
        self,
        widths: Sequence[int],
        blocks: Sequence[int],
        norm: Callable[[int], nn.Module],
        stages: int = 4,
        strides: Sequence[int] = (1, 2, 2, 2),
    ) -> None:
        super().__init__()
        stem = widths[0]
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = stem
        for index in range(stages):
            layer = make_stage(channels, widths[index], blocks[index], strides[index], norm)
            self.add_module(f"layer{index + 1}", layer)
            channels = widths[index] * EXPANSION
        self.stages = stages
        self.out_channels = [width * EXPANSION for width in widths[:stages]]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images [N, 3, H, W] to the stages' features, strides 4, 8, 16, 32, under the keys "0" ... "3"."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        features = {}
        for index in range(self.stages):
            x = self.get_submodule(f"layer{index + 1}")(x)
            features[str(index)] = x
        return features


def make_stage(channels: int, width: int, blocks: int, stride: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
    """Build one stage of bottlenecks; its stride is in the first 3x3 convolution."""
    layers: list[nn.Module] = []
    for block in range(blocks):
        shortcut = None
        if block == 0 and (stride != 1 or channels != width * EXPANSION):
            projection = nn.Conv2d(channels, width * EXPANSION, 1, stride=stride, bias=False)
            shortcut = nn.Sequential(projection, norm(width * EXPANSION))
        layers.append(FusionBottleneck(channels, width, stride if block == 0 else 1, shortcut, norm_layer=norm))
        channels = width * EXPANSION
    return nn.Sequential(*layers)


def build_resnet(
    name: str,
    size: ModelSize,
    norm: str,
    method: Method,
    scales: Scales | None = None,
    stages: int = 4,
    strides: Sequence[int] = (1, 2, 2, 2),
) -> ResNet:
    """Build a backbone of the papers' names at a preset's size, with the method's layers inside."""
    widths = [max(8, round(64 * size.width)) * 2**index for index in range(4)]
    blocks = [min(count, size.max_blocks or count) for count in BLOCKS[name]]
    body = ResNet(widths, blocks, NORMS[norm], stages, strides)
    for index in range(stages):
        insert_layers(body.get_submodule(f"layer{index + 1}"), index + 1, size, method, scales)
    initialise(body)
    return body


def insert_layers(stage: nn.Sequential, number: int, size: ModelSize, method: Method, scales: Scales | None) -> None:
    """Put the method's layers into a stage, `number` counting from 1 (conv2_x).

    PSConv replaces the 3x3 convolutions of all four stages (PSConv, section 4.1), GSL, FD and MSFM change conv3_x to
    conv5_x (POD, section 3.1; MSFM, section 3.2).
    """
    for name, block in stage.named_children():
        old = block.conv2
        if method.psconv is not None:
            options = method.psconv
            block.conv2 = PSConv2d(
                old.in_channels,
                old.out_channels,
                stride=old.stride[0],
                dilations=options.dilations,
                axes=options.axes,
                layout=options.layout,
            )
        if number == 1:
            continue
        if method.global_scale:
            block.conv2 = GlobalScaleConv2d(old.in_channels, old.out_channels, stride=old.stride[0])
        if method.decomposed:
            block.conv2 = DecomposedConv2d(
                old.in_channels, sub_convs(f"layer{number}.{name}", old.out_channels, scales), stride=old.stride[0]
            )
        if method.fusion is not None:
            insert_fusion(block, number, size, method.fusion)


def sub_convs(block: str, out_channels: int, scales: Scales | None) -> list[SubConv]:
    """Return the integer convolutions that stand for a block's learnt scale; scale 1 where none is known."""
    scale_h, scale_w = scales[block] if scales else (1.0, 1.0)
    return decompose(scale_h, scale_w, out_channels)


def insert_fusion(block: Bottleneck, stage: int, size: ModelSize, options: FusionOptions) -> None:
    """Put fusion modules into a bottleneck: after conv1's or conv2's ReLU, or after norm3, before the addition."""
    for position, norm_groups in zip(options.positions, options.norm_groups, strict=True):
        channels = block.get_submodule(f"conv{position}").out_channels
        # Narrow presets would squeeze to one or two channels; a floor keeps the module's width meaningful there.
        ratio = min(options.ratios[stage - 2], max(1, channels // size.fusion_min_width))
        fusion = MultiScaleFusion(
            channels,
            ratio,
            options.scales,
            options.convs,
            norm_groups=math.gcd(norm_groups, channels // ratio),
            fusion=options.fusion,
        )
        block.add_module(f"fusion{position}", fusion)


def initialise(body: nn.Module) -> None:
    """He initialisation of plain convolutions, as torchvision's ResNet; the papers' layers bring their own."""
    for module in body.modules():
        if type(module) is nn.Conv2d and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
