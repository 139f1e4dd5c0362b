"""Evaluation: COCO metrics, their bootstrap, proposal recall, soft-NMS and merging of image pyramids.

Public names load on first use, so that scoring detections never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# No module may have the name of a function here: importing the module would replace the function.
_HOME = {
    "average_recall": "proposals",
    "bootstrap_ap": "bootstrap",
    "bootstrap_voc": "voc",
    "evaluate_detections": "coco",
    "evaluate_voc": "voc",
    "gain_interval": "intervals",
    "merge_pyramid": "pyramid",
    "paired_interval": "intervals",
    "scaled_area_ranges": "coco",
    "scaled_size_ranges": "proposals",
    "soft_nms": "suppression",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
