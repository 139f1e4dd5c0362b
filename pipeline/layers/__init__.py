"""The papers' layers, independent of detectors."""

from pipeline.layers.decomposed import DecomposedConv2d, SubConv, decompose
from pipeline.layers.global_scale import GlobalScaleConv2d, fractional_dilation_conv2d
from pipeline.layers.multi_scale_fusion import MultiScaleFusion
from pipeline.layers.psconv import PSConv2d
from pipeline.layers.psconv_mask import LearnableMaskPSConv2d
from pipeline.layers.static_psconv import StaticPSConv2d
from pipeline.layers.three_branch import ThreeBranchPSConv2d

__all__ = [
    "DecomposedConv2d",
    "GlobalScaleConv2d",
    "LearnableMaskPSConv2d",
    "MultiScaleFusion",
    "PSConv2d",
    "StaticPSConv2d",
    "SubConv",
    "ThreeBranchPSConv2d",
    "decompose",
    "fractional_dilation_conv2d",
]
