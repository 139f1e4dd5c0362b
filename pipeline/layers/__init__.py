"""The papers' layers; they know nothing of detectors. Public names load on first use, each with its own module only."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# No module may have the name of a function here: importing it would put the module in the place of the function.
_HOME = {
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
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
