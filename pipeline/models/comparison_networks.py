"""Networks that are built for their cost only: printed ones, and ones that decide between readings of a paper."""

from collections.abc import Callable

from torch import Tensor, nn

from pipeline.layers import PSConv2d, ThreeBranchPSConv2d
from pipeline.layers.grouped_dilated import GroupedDilatedConv2d
from pipeline.models.backbones.resnet import EXPANSION, RESNETS, FusionBottleneck, ResNet, make_stage
from pipeline.models.classifier import Classifier


class DenseBranches(nn.Module):
    """PSConv as one masked dense convolution, run in full, for each distinct dilation."""

    def __init__(self, layer: PSConv2d) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            GroupedDilatedConv2d(layer.in_channels, layer.out_channels, 3, layer.stride, d, d, layer.groups, bias=False)
            for d in sorted(set(layer.dilations))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the branches' outputs for x [N, C, H, W]."""
        return sum(conv(x) for conv in self.convs)


def three_branches(layer: PSConv2d) -> nn.Module:
    """Return the official form of a PSConv layer: a dense convolution and two grouped ones."""
    return ThreeBranchPSConv2d(layer.in_channels, layer.out_channels, stride=layer.stride[0], groups=layer.groups)


def replace_psconv(model: nn.Module, make: Callable[[PSConv2d], nn.Module]) -> None:
    """Replace the PSConv layers of every bottleneck, in place."""
    for block in model.modules():
        if isinstance(block, FusionBottleneck) and isinstance(block.conv2, PSConv2d):
            block.conv2 = make(block.conv2)


def stride_in_1x1(model: nn.Module) -> None:
    """Move every bottleneck's stride from the 3x3 to the first 1x1 convolution, as the original ResNet has it."""
    for block in model.modules():
        if isinstance(block, FusionBottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)


def drn_a_50(classes: int = 1000) -> nn.Module:
    """Build DRN-A-50: a ResNet-50 whose last two stages keep the resolution and dilate (PSConv, table 2)."""
    body = ResNet(RESNETS["resnet50"], nn.BatchNorm2d, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    return Classifier(body, classes)


class DRND54(nn.Module):
    """DRN-D-54: eight levels without pooling, bottlenecks in levels 3 to 6 and plain convolutions in the others.

    Its classifier, a 1x1 convolution, has as many parameters and multiply-adds as a linear layer after the mean.
    """

    def __init__(self) -> None:
        super().__init__()
        resnet = RESNETS["resnet50"]
        self.first = nn.Sequential(convolution(3, 16, 7), convolution(16, 16), convolution(16, 32, stride=2))
        channels, levels = 32, []
        for index, (stride, dilation) in enumerate(((2, 1), (2, 1), (1, 2), (1, 4))):
            levels.append(make_stage(resnet, index, channels, stride, nn.BatchNorm2d, dilation))
            channels = resnet.planes[index] * EXPANSION
        self.levels = nn.Sequential(*levels)
        self.last = nn.Sequential(convolution(channels, 512, dilation=2), convolution(512, 512))
        self.out_channels, self.stages = [512], 1

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images [N, 3, H, W] to one feature map [N, 512, H / 8, W / 8]."""
        return {"0": self.last(self.levels(self.first(x)))}


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Return a convolution with batch norm and ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def drn_d_54(classes: int = 1000) -> nn.Module:
    """Build DRN-D-54 (PSConv, table 2)."""
    return Classifier(DRND54(), classes)
