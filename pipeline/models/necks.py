"""Feature pyramids on a backbone, with the levels of each detector family."""

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from pipeline.models.backbones.build import Scales, build_backbone, freeze_stages
from pipeline.options import PSConvOptions
from pipeline.parts import load
from pipeline.spec import Spec

Extra = Literal["pool", "c5", "p5"]


class FPNBackbone(nn.Module):
    """Backbone body with a feature pyramid on its stages from `first` on, and coarser levels above.

    Args:
        body: a backbone of four stages, with `out_channels`.
        channels: of every level.
        extra: "pool" adds one max-pooled level (RoI families); "c5" adds two by strided convolutions on conv5_x
            (RetinaNet, RepPoints); "p5" adds two by strided convolutions on the last pyramid level (FCOS).
        first: index of the first stage with a level: 0 with "pool" gives strides 4 to 64, 1 with others gives 8 to 128.
        psconv: replaces the pyramid's 3x3 output convolutions by PSConv (PSConv, footnote 4).
    """

    def __init__(
        self, body: nn.Module, channels: int, extra: Extra = "pool", first: int = 0, psconv: PSConvOptions | None = None
    ) -> None:
        super().__init__()
        self.body = body
        inputs = body.out_channels[first:]
        blocks: dict[Extra, nn.Module] = {
            "pool": LastLevelMaxPool(),
            "c5": LastLevelP6P7(inputs[-1], channels),
            "p5": LastLevelP6P7(channels, channels),
        }
        if extra != "pool":
            blocks[extra].use_P5 = extra == "p5"  # torchvision guesses from channels, which are equal in narrow presets
        self.fpn = FeaturePyramidNetwork(inputs, channels, extra_blocks=blocks[extra])
        if psconv is not None:
            for block in self.fpn.layer_blocks:
                block[0] = load("psconv").PSConv2d(
                    channels, channels, bias=True, dilations=psconv.dilations, axes=psconv.axes, layout=psconv.layout
                )
        self.first = first
        self.out_channels = channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images [N, 3, H, W] to levels of falling resolution with `out_channels` channels."""
        return self.fpn(OrderedDict(list(self.body(x).items())[self.first :]))


def build_fpn(spec: Spec, scales: Scales | None = None, extra: Extra = "pool", first: int = 0) -> FPNBackbone:
    """Build an experiment's backbone with its feature pyramid, and freeze the recipe's first stages."""
    size, method = spec.preset.model, spec.experiment.method
    body = build_backbone(spec.experiment.backbone, size, spec.norm, method, scales, stages=4)
    freeze_stages(body, spec.frozen_stages)
    psconv = method.psconv if method.psconv is not None and method.psconv.neck else None
    return FPNBackbone(body, size.fpn_channels, extra, first, psconv)
