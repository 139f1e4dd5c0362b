"""The papers' layers; they know nothing of detectors."""

from pipeline.lazy import lazy

__getattr__, __all__ = lazy(
    __name__,
    {
        "DecomposedConv2d": "decomposed",
        "GlobalScaleConv2d": "global_scale",
        "LearnableMaskPSConv2d": "psconv_mask",
        "MultiScaleFusion": "multi_scale_fusion",
        "PSConv2d": "psconv",
        "StaticPSConv2d": "static_psconv",
        "SubConv": "decomposition",
        "ThreeBranchPSConv2d": "three_branch",
        "decompose": "decomposition",
        "fractional_dilation_conv2d": "global_scale",
    },
)
